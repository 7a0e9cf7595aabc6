//! Takes credentials out of text that somebody may see: messages, print-outs, `Debug`.
//!
//! Works on any text, not only on well-formed URLs: a mistyped URL is exactly what ends up in an
//! error message. In doubt it hides too much.

/// What stands where a credential was.
const HIDDEN: &str = "***";

/// Names whose values are credentials, in query strings (`?password=…`) and in libpq's
/// `password=…` form. Found by their end, so that `sslpassword` counts too.
const SECRET_NAMES: [&str; 4] = ["password=", "passwd=", "secret=", "token="];

/// `text` with the password of a URL's user and every `password=…` hidden.
pub(super) fn redact(text: &str) -> String {
    redact_named(&redact_userinfo(text))
}

/// Hides what stands between the first `:` of a URL's authority and the text's last `@`.
///
/// The last `@` and not the authority's: a password with an unescaped `/` or `@` in it is a
/// common mistake, and the one most likely to be reported.
fn redact_userinfo(text: &str) -> String {
    let Some(scheme_end) = text.find("://").map(|at| at + "://".len()) else {
        return text.to_owned();
    };
    let (scheme, rest) = text.split_at(scheme_end);
    let Some(colon) = rest.find(':') else {
        return text.to_owned();
    };
    let tail_start = match rest.rfind('@') {
        Some(at) if at > colon => at,
        // `user:secret` without a host looks like `host:port`; only digits are a port.
        _ => {
            let port_end = rest[colon + 1..]
                .find(['/', '?'])
                .map_or(rest.len(), |at| colon + 1 + at);
            if rest[colon + 1..port_end]
                .bytes()
                .all(|byte| byte.is_ascii_digit())
            {
                return text.to_owned();
            }
            port_end
        }
    };
    format!("{scheme}{}:{HIDDEN}{}", &rest[..colon], &rest[tail_start..])
}

/// Hides the values of [`SECRET_NAMES`], up to the next `&` or the end.
fn redact_named(text: &str) -> String {
    // ASCII lower case keeps every byte offset.
    let lower = text.to_ascii_lowercase();
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(value) = SECRET_NAMES
        .iter()
        .filter_map(|name| lower[done..].find(name).map(|at| done + at + name.len()))
        .min()
    {
        let end = text[value..].find('&').map_or(text.len(), |at| value + at);
        shown.push_str(&text[done..value]);
        if end > value {
            shown.push_str(HIDDEN);
        }
        done = end;
    }
    shown.push_str(&text[done..]);
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn passwords_are_hidden_and_the_rest_stays_readable() {
        for (given, shown) in [
            (
                "postgres://u:secret@h:5432/db",
                "postgres://u:***@h:5432/db",
            ),
            ("mysql://u:secret@h", "mysql://u:***@h"),
            ("postgres://u:se/cr@et@h/db", "postgres://u:***@h/db"),
            ("postgres://u:secret", "postgres://u:***"),
            ("postgres://u:secret/db", "postgres://u:***/db"),
            (
                "postgres://h/db?password=secret&x=1",
                "postgres://h/db?password=***&x=1",
            ),
            (
                "postgres://h/db?sslPassword=secret",
                "postgres://h/db?sslPassword=***",
            ),
            ("host=h password='a secret' x", "host=h password=***"),
            ("postgres://u@h:5432/db", "postgres://u@h:5432/db"),
            ("postgres://h:5432/db", "postgres://h:5432/db"),
            ("memory:rows.csv", "memory:rows.csv"),
            ("info,gcache=debug", "info,gcache=debug"),
        ] {
            assert_eq!(redact(given), shown, "{given}");
        }
    }

    proptest! {
        #[test]
        fn no_password_of_a_url_survives(
            user in "[a-z]{0,5}",
            password in "[A-Z/@:?&=#]{1,12}",
            rest in "(/[a-z]{0,4})?(\\?[a-z]=[a-z@]{0,4})?",
        ) {
            let secret = format!("Q{password}Z");
            let shown = redact(&format!("postgres://{user}:{secret}@host{rest}"));
            prop_assert!(!shown.contains(&secret), "{}", shown);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[:/@?&=passwordtoken]{0,60}") {
            redact(&text);
        }
    }
}
