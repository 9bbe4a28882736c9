//! Text and numbers on the page.
//!
//! Owns escaping and the writing of numbers. Knows no section.

/// `text` as it must stand in HTML, between tags or in a quoted attribute. Control characters but the line feed
/// and the tab become their pictures.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            '\0'..='\u{1f}' => {
                out.push(char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'));
            }
            '\u{7f}' => out.push('\u{2421}'),
            // These would turn around what is read after them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

/// A metric's name, which may be broken behind its slashes and underscores.
pub(super) fn breakable(name: &str) -> String {
    let name = escaped(name);
    name.replace('/', "/<wbr>").replace('_', "_<wbr>")
}

/// A number to about three digits: `-0.0123`, `4.5`, `12,300`, `2.1e-7`.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let text = if value == 0.0 {
        "0".to_owned()
    } else if size < 1e-3 {
        return exponent(value);
    } else if size < 1.0 {
        trimmed(&format!("{value:.4}"))
    } else if size < 10.0 {
        trimmed(&format!("{value:.3}"))
    } else if size < 100.0 {
        trimmed(&format!("{value:.2}"))
    } else if size < 1000.0 {
        trimmed(&format!("{value:.1}"))
    } else if size < 1e7 {
        grouped(value)
    } else {
        return exponent(value);
    };
    text.replace('-', "\u{2212}")
}

fn exponent(value: f64) -> String {
    let text = format!("{value:.1e}").replace(".0e", "e");
    match text.strip_prefix('-') {
        Some(rest) => format!("\u{2212}{rest}"),
        None => text,
    }
}

fn trimmed(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 {
        out.insert(0, '-');
    }
    out
}

/// A number with its unit: bytes in MiB or GiB, seconds below one in ms.
pub(super) fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "bytes" if value >= (1_u64 << 30) as f64 => {
            format!("{} GiB", number(value / (1_u64 << 30) as f64))
        }
        "bytes" => format!("{} MiB", number(value / (1 << 20) as f64)),
        "s" if value.abs() < 1.0 && value != 0.0 => format!("{} ms", number(value * 1e3)),
        "share" => format!("{} %", number(100.0 * value)),
        "" | "0 or 1" => number(value),
        unit => format!("{} {unit}", number(value)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_of_a_text_becomes_a_tag() {
        assert_eq!(
            escaped("<script>alert('1')</script>&\"\0\u{202e}"),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\u{2400}\u{fffd}"
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.012_34, "\u{2212}0.0123"),
            (4.5, "4.5"),
            (99.999, "100"),
            (12_345.6, "12,346"),
            (-2.1e-7, "\u{2212}2.1e-7"),
            (3e-4, "3e-4"),
            (123_456_789.0, "1.2e8"),
        ] {
            assert_eq!(number(value), expected);
        }
        assert_eq!(quantity(163_598_336.0, "bytes"), "156 MiB");
        assert_eq!(quantity(0.25, "s"), "250 ms");
        assert_eq!(quantity(0.5, "share"), "50 %");
    }

    proptest! {
        #[test]
        fn escaping_leaves_no_special_character(text in any::<String>()) {
            let out = escaped(&text);
            prop_assert!(!out.contains(['<', '>', '"', '\'']));
            for (place, _) in out.match_indices('&') {
                let rest = &out[place..];
                prop_assert!(["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"].iter().any(|e| rest.starts_with(e)));
            }
        }
    }
}
