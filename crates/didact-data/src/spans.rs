//! Finds the tokens that lie inside a part of a text.

use std::ops::Range;

use didact_core::Span;

use crate::Encoding;

impl Encoding {
    /// The tokens that lie wholly inside `bytes` of the text; empty where none does.
    ///
    /// A token that reaches over an edge belongs to neither side.
    #[must_use]
    pub fn span_inside(&self, bytes: &Range<usize>) -> Span {
        let inside = |range: &Range<usize>| {
            range.start < range.end && bytes.start <= range.start && range.end <= bytes.end
        };
        let Some(start) = self.offsets.iter().position(inside) else {
            return Span::new(0, 0);
        };
        let len = self.offsets[start..]
            .iter()
            .take_while(|range| inside(range))
            .count();
        Span::new(start, start + len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_over_an_edge_are_outside() {
        let encoding = Encoding {
            ids: vec![5, 6, 7, 8],
            offsets: vec![0..2, 2..5, 5..6, 6..9],
        };
        assert_eq!(encoding.span_inside(&(2..6)), Span::new(1, 3));
        assert_eq!(encoding.span_inside(&(1..8)), Span::new(1, 3));
        assert_eq!(encoding.span_inside(&(0..9)), Span::new(0, 4));
        assert!(encoding.span_inside(&(3..4)).is_empty());
        assert!(encoding.span_inside(&(9..9)).is_empty());
    }
}
