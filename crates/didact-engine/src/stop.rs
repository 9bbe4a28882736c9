//! When a completion ends.
//!
//! It knows ids, their bytes and the limits, no model.

use didact_core::{Sampling, StopReason, TokenBytes, TokenId};

/// Watches one completion.
#[derive(Debug)]
pub(crate) struct StopWatch {
    /// The bytes sampled last: one less than the longest stop string may still begin a match.
    tail: Vec<u8>,
    longest: usize,
    /// Tokens that the context has room for.
    room: usize,
}

impl StopWatch {
    pub(crate) fn new(sampling: &Sampling, room: usize) -> Self {
        let longest = sampling
            .stop_strings
            .iter()
            .map(String::len)
            .max()
            .unwrap_or(0);
        Self {
            tail: Vec::new(),
            longest,
            room,
        }
    }

    /// Whether the completion ends with the token just sampled, its `count`-th.
    ///
    /// A stop token is named before a stop string, both before the limits.
    pub(crate) fn after(
        &mut self,
        id: TokenId,
        count: usize,
        sampling: &Sampling,
        bytes: Option<&dyn TokenBytes>,
    ) -> Option<StopReason> {
        if sampling.stop_tokens.contains(&id) {
            return Some(StopReason::StopToken);
        }
        if let Some(bytes) = bytes.filter(|_| self.longest > 0) {
            self.tail.extend_from_slice(bytes.token_bytes(id));
            let found = |stop: &String| {
                self.tail
                    .windows(stop.len())
                    .any(|window| window == stop.as_bytes())
            };
            if sampling.stop_strings.iter().any(found) {
                return Some(StopReason::StopString);
            }
            let spent = self.tail.len().saturating_sub(self.longest - 1);
            self.tail.drain(..spent);
        }
        if count >= sampling.max_tokens {
            return Some(StopReason::MaxTokens);
        }
        (count >= self.room).then_some(StopReason::ContextFull)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Token `i` stands for the `i`-th of some byte strings.
    #[derive(Debug)]
    pub(crate) struct Bytes(pub(crate) Vec<Vec<u8>>);

    impl TokenBytes for Bytes {
        fn token_bytes(&self, id: TokenId) -> &[u8] {
            self.0.get(id as usize).map_or(&[], Vec::as_slice)
        }

        fn is_special(&self, _id: TokenId) -> bool {
            false
        }
    }

    fn run(
        ids: &[TokenId],
        sampling: &Sampling,
        room: usize,
        bytes: &Bytes,
    ) -> Option<(usize, StopReason)> {
        let mut watch = StopWatch::new(sampling, room);
        ids.iter().enumerate().find_map(|(index, &id)| {
            let count = index + 1;
            watch
                .after(id, count, sampling, Some(bytes))
                .map(|stop| (count, stop))
        })
    }

    #[test]
    fn each_reason_ends_it() {
        let bytes = Bytes(vec![
            b"a".to_vec(),
            b"b".to_vec(),
            b"</".to_vec(),
            b"x>y".to_vec(),
        ]);
        let sampling = Sampling::new(1.0, 4).with_stop_tokens([1]);
        assert_eq!(
            run(&[0, 1, 0], &sampling, 9, &bytes),
            Some((2, StopReason::StopToken))
        );
        assert_eq!(
            run(&[0; 9], &sampling, 9, &bytes),
            Some((4, StopReason::MaxTokens))
        );
        assert_eq!(
            run(&[0; 9], &sampling, 3, &bytes),
            Some((3, StopReason::ContextFull))
        );
        let sampling = Sampling::new(1.0, 9).with_stop_strings(["</x>".to_owned(), "?".to_owned()]);
        assert_eq!(
            run(&[0, 2, 3, 0], &sampling, 9, &bytes),
            Some((3, StopReason::StopString))
        );
        assert_eq!(run(&[2, 0, 3], &sampling, 9, &bytes), None);
    }

    proptest! {
        #[test]
        fn a_stop_string_ends_it_at_the_first_token_that_completes_it(
            pieces in prop::collection::vec("[ab]{0,3}", 1..12), stop in "[ab]{1,5}",
        ) {
            let bytes = Bytes(pieces.iter().map(|p| p.clone().into_bytes()).collect());
            let ids: Vec<TokenId> = (0..pieces.len() as TokenId).collect();
            let sampling = Sampling::new(1.0, 99).with_stop_strings([stop.clone()]);
            let expected = (1..=pieces.len()).find(|&n| pieces[..n].concat().contains(&stop));
            prop_assert_eq!(
                run(&ids, &sampling, 99, &bytes),
                expected.map(|count| (count, StopReason::StopString))
            );
        }
    }
}
