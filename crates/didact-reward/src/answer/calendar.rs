//! Times of day and dates as they are written.
//!
//! Owns what tells `6:30` from a ratio and `1/2/2003` from a quotient of quotients. Knows no other token.

/// The time or date that starts at `start`, as it is compared, with the characters that it takes.
pub(crate) fn read(chars: &[char], start: usize) -> Option<(String, usize)> {
    // Not in the middle of a number, a ratio or a name.
    let before = start.checked_sub(1).map(|at| chars[at]);
    if before.is_some_and(|c| c.is_alphanumeric() || "./:,_^\\".contains(c)) {
        return None;
    }
    let mut at = start;
    let first = digits(chars, &mut at)?;
    let sign = *chars.get(at)?;
    at += 1;
    let second = digits(chars, &mut at)?;
    let written = match sign {
        ':' => {
            let mut written = time(&first, &second)?;
            // Seconds are told from a ratio of three parts by a zero before a digit.
            if chars.get(at) == Some(&':') {
                at += 1;
                let third = digits(chars, &mut at)?;
                let padded = second.starts_with('0') || third.starts_with('0');
                if !padded || third.len() != 2 {
                    return None;
                }
                written = format!("{written}:{third}");
            }
            written
        }
        '/' => {
            (chars.get(at) == Some(&'/')).then_some(())?;
            at += 1;
            let year = digits(chars, &mut at)?;
            let day = |text: &str| text.len() <= 2 && (1..=31).contains(&number(text));
            if !day(&first) || !day(&second) || !(1_000..3_000).contains(&number(&year)) {
                return None;
            }
            format!("{}/{}/{year}", number(&first), number(&second))
        }
        _ => return None,
    };
    let next = chars.get(at);
    let goes_on = next.is_some_and(|c| c.is_ascii_digit() || matches!(c, ':' | '/' | '^'))
        || (next == Some(&'.') && chars.get(at + 1).is_some_and(char::is_ascii_digit));
    (!goes_on).then_some((written, at - start))
}

fn digits(chars: &[char], at: &mut usize) -> Option<String> {
    let run: String = chars[(*at).min(chars.len())..]
        .iter()
        .take_while(|c| c.is_ascii_digit())
        .take(5)
        .collect();
    *at += run.len();
    (!run.is_empty()).then_some(run)
}

fn number(digits: &str) -> u32 {
    digits.parse().unwrap_or(u32::MAX)
}

/// Hours and minutes: two digits behind the colon, as many as an hour has.
fn time(hours: &str, minutes: &str) -> Option<String> {
    let is_time =
        hours.len() <= 2 && number(hours) <= 24 && minutes.len() == 2 && number(minutes) < 60;
    is_time.then(|| format!("{}:{minutes}", number(hours)))
}
