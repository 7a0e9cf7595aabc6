//! Rules for the shape of files: a header, a bounded length, no unfinished work.

use crate::source::{File, block_len, find_words};

/// The most lines of a file, not counting its inline tests.
const MAX_FILE_LINES: usize = 500;

/// The most lines of a function: one screen.
const MAX_FUNCTION_LINES: usize = 70;

/// The marks of unfinished work.
const UNFINISHED: [&str; 4] = ["todo!", "unimplemented!", "#[ignore]", "#[ignore ="];

/// Every file opens with its job, its boundary and its callers.
pub(crate) fn files_say_what_they_are(files: &[File]) -> Vec<String> {
    let silent = files.iter().filter(|file| !file.text.starts_with("//! "));
    silent
        .map(|file| format!("{}: does not open with //!", file.path))
        .collect()
}

/// Files are short: a file that grows beyond the limit has two ideas.
pub(crate) fn files_are_short(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let lines = if file.is_test() {
            file.text.lines().count()
        } else {
            // Comments count, inline tests do not.
            let tests = file
                .code
                .lines()
                .zip(file.production().lines().map(str::to_owned))
                .fold(0, |tests, (all, kept)| {
                    tests + usize::from(!all.trim().is_empty() && kept.trim().is_empty())
                });
            file.text.lines().count() - tests
        };
        if lines > MAX_FILE_LINES {
            violations.push(format!(
                "{}: {lines} lines, at most {MAX_FILE_LINES}",
                file.path
            ));
        }
    }
    violations
}

/// Functions fit on one screen.
pub(crate) fn functions_fit_a_screen(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        let code = file.production();
        for offset in find_words(&code, "fn ") {
            let rest = &code[offset..];
            // A `;` before any body: a signature in a trait. A `;` inside `[u8; 4]` ends nothing.
            let open = rest.find('{').unwrap_or(rest.len());
            let ends = rest[..open].find(";\n").is_some();
            if ends || open == rest.len() {
                continue;
            }
            let function = &rest[..open + block_len(&rest[open..])];
            let lines = function.lines().count();
            if lines > MAX_FUNCTION_LINES {
                let place = file.place(offset);
                violations.push(format!(
                    "{place}: {lines} lines, at most {MAX_FUNCTION_LINES}"
                ));
            }
        }
    }
    violations
}

/// The tree has no unfinished work.
pub(crate) fn nothing_is_unfinished(files: &[File]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files {
        for mark in UNFINISHED {
            for (offset, _) in file.code.match_indices(mark) {
                violations.push(format!("{}: {mark}", file.place(offset)));
            }
        }
    }
    violations
}

#[test]
fn a_file_without_a_header_is_caught() {
    for text in ["use a;\n//! late\n", "", "// no\n"] {
        assert_eq!(
            files_say_what_they_are(&[File::new("src/x.rs", text)]).len(),
            1,
            "{text}"
        );
    }
    assert!(files_say_what_they_are(&[File::new("src/x.rs", "//! A job.\n")]).is_empty());
}

#[test]
fn a_long_file_is_caught_and_its_inline_tests_are_not_counted() {
    let long = "// x\n".repeat(MAX_FILE_LINES + 1);
    assert_eq!(files_are_short(&[File::new("src/x.rs", &long)]).len(), 1);
    assert_eq!(files_are_short(&[File::new("tests/x.rs", &long)]).len(), 1);
    let tested = format!(
        "fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "a();\n".repeat(600)
    );
    assert!(files_are_short(&[File::new("src/x.rs", &tested)]).is_empty());
}

#[test]
fn a_long_function_is_caught() {
    let of = |lines: usize| {
        format!(
            "trait T {{ fn t();\n}}\nfn a(b: [u8; 4]) {{\n{}}}\n",
            "c();\n".repeat(lines)
        )
    };
    assert!(
        functions_fit_a_screen(&[File::new("src/x.rs", &of(MAX_FUNCTION_LINES - 2))]).is_empty()
    );
    assert_eq!(
        functions_fit_a_screen(&[File::new("src/x.rs", &of(MAX_FUNCTION_LINES - 1))]).len(),
        1
    );
}

#[test]
fn unfinished_work_is_caught() {
    for text in [
        "fn a() { todo!() }",
        "#[test]\n#[ignore]\nfn a() {}",
        "fn a() { unimplemented!(\"x\") }",
    ] {
        assert_eq!(
            nothing_is_unfinished(&[File::new("src/x.rs", text)]).len(),
            1,
            "{text}"
        );
    }
    assert!(nothing_is_unfinished(&[File::new("src/x.rs", "// todo!\nf(\"todo!\")")]).is_empty());
}
