//! E-mail addresses in the one form in which they are stored and compared.

/// RFC 5321 §4.5.3.1.3, less the angle brackets, in bytes.
const ADDRESS_BYTES_MAX: usize = 254;

/// RFC 5321 §4.5.3.1.1, in bytes.
const LOCAL_BYTES_MAX: usize = 64;

/// RFC 1035 §2.3.4, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// The address trimmed and in lower case; `None` when it cannot be one. Quoted local parts, comments and address literals are
/// refused: nobody has them, and they are where mail systems disagree about whose mailbox it is.
pub(crate) fn normalise(text: &str) -> Option<String> {
    let address = text.trim().to_lowercase();
    let (local, domain) = address.split_once('@')?;
    let fits = address.len() <= ADDRESS_BYTES_MAX && (1..=LOCAL_BYTES_MAX).contains(&local.len());
    let dots = |part: &str| part.starts_with('.') || part.ends_with('.') || part.contains("..");
    let good = fits && !dots(local) && local.chars().all(local_char) && domain.split('.').all(label);
    good.then_some(address)
}

/// RFC 5322 §3.2.3 `atext`, and letters beyond ASCII (RFC 6531).
fn local_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || (!c.is_ascii() && c.is_alphanumeric())
}

fn label(label: &str) -> bool {
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || (!c.is_ascii() && c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_brought_to_one_form_or_refused() {
        for (text, expected) in [
            ("ann@example.com", Some("ann@example.com")),
            ("  Ann@Example.COM\n", Some("ann@example.com")),
            ("ann+shop@mail.example.co.uk", Some("ann+shop@mail.example.co.uk")),
            ("o'neil_1@localhost", Some("o'neil_1@localhost")),
            ("ÄNNE@Bücher.example", Some("änne@bücher.example")),
            ("", None),
            ("ann", None),
            ("@example.com", None),
            ("ann@", None),
            ("ann@@example.com", None),
            ("ann@example@com", None),
            ("ann smith@example.com", None),
            ("\"ann smith\"@example.com", None),
            ("ann\u{0}@example.com", None),
            ("ann@exa\nmple.com", None),
            (".ann@example.com", None),
            ("ann.@example.com", None),
            ("a..n@example.com", None),
            ("ann@example..com", None),
            ("ann@.example.com", None),
            ("ann@example.com.", None),
            ("ann@-example.com", None),
            ("ann@[127.0.0.1]", None),
            ("ann@example.com, bob@example.com", None),
        ] {
            assert_eq!(normalise(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn nothing_longer_than_an_envelope_takes() {
        let local = "a".repeat(64);
        assert!(normalise(&format!("{local}@example.com")).is_some());
        assert!(normalise(&format!("{local}a@example.com")).is_none());
        let domain = ["d".repeat(63).as_str(); 4].join(".");
        assert!(normalise(&format!("a@{domain}")).is_none());
        assert!(normalise(&format!("a@{}.com", "d".repeat(64))).is_none());
    }
}
