//! Parses Rust source into code, comments and strings.

use std::ops::Range;
use std::path::Path;

/// One source file.
pub(crate) struct File {
    /// The path from the root of the repository, with `/`.
    pub(crate) path: String,
    /// The text of the file.
    pub(crate) text: String,
    /// The text with the content of comments, strings and characters blanked, byte for byte.
    pub(crate) code: String,
    /// The string literals.
    pub(crate) literals: Vec<Literal>,
    /// The ranges of the inline test modules.
    test_modules: Vec<Range<usize>>,
    /// Whether the whole file is a test module, because the file that declares it says so.
    is_test_module: bool,
}

/// A string literal in the code.
pub(crate) struct Literal {
    /// The offset of its opening quote.
    pub(crate) start: usize,
    /// The offset after its closing quote.
    pub(crate) end: usize,
    /// The text between the quotes, with escapes as written.
    pub(crate) text: String,
}

impl File {
    /// Parses a file.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (code, literals) = mask(text);
        let test_modules = test_modules(&code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            literals,
            test_modules,
            is_test_module: false,
        }
    }

    /// `path:line` of the byte at `offset`.
    pub(crate) fn place(&self, offset: usize) -> String {
        format!(
            "{}:{}",
            self.path,
            self.text[..offset].matches('\n').count() + 1
        )
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.is_test_module
            || !self.path.starts_with("src/")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests/")
    }

    /// The paths of the files that this one declares as test modules, `#[cfg(test)] mod golden;`.
    fn declared_test_files(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = ["/mod", "/lib", "/main"]
            .iter()
            .find_map(|name| stem.strip_suffix(name));
        let folder = folder.unwrap_or(stem);
        let declared = self.code.split("#[cfg(test)]").skip(1).filter_map(|rest| {
            let (name, _) = rest.trim_start().strip_prefix("mod ")?.split_once(';')?;
            name.bytes()
                .all(is_word)
                .then(|| format!("{folder}/{name}.rs"))
        });
        declared.collect()
    }

    /// Whether the byte at `offset` is neither in a test file nor in an inline test module.
    pub(crate) fn is_production(&self, offset: usize) -> bool {
        !self.is_test()
            && !self
                .test_modules
                .iter()
                .any(|range| range.contains(&offset))
    }

    /// The code in which inline test modules are blanked too.
    pub(crate) fn production(&self) -> String {
        if self.is_test() {
            return String::new();
        }
        let mut code = self.code.clone().into_bytes();
        for range in &self.test_modules {
            blank(&mut code[range.clone()]);
        }
        String::from_utf8(code).expect("only whole characters were blanked")
    }
}

/// The ranges of the inline test modules of `code`. `mod tests;` is a file of its own and does not count.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(start, _)| start);
    starts
        .filter_map(|start| {
            let rest = &code[start..];
            let open = rest.find('{').filter(|open| !rest[..*open].contains(';'))?;
            Some(start..start + open + block_len(&rest[open..]))
        })
        .collect()
}

/// Blanks everything but the ends of lines.
fn blank(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// The length of the block that begins `code` with an opening brace, both braces included.
pub(crate) fn block_len(code: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Whether `byte` may be part of a name.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The offsets of `word` in `code` where it is not part of a longer name.
pub(crate) fn find_words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = at.checked_sub(1).map(|before| bytes[before]);
            let after = bytes.get(at + word.len());
            let last = word.as_bytes()[word.len() - 1];
            let begins = !before.is_some_and(is_word);
            let ends = !is_word(last) || !after.is_some_and(|byte| is_word(*byte));
            begins && ends
        })
}

/// Blanks comments, strings and characters, and collects the strings.
fn mask(text: &str) -> (String, Vec<Literal>) {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment_len(rest)
        } else if let Some((open, close)) = string_len(bytes, at) {
            let literal = text[at + open..close].trim_end_matches('#');
            let literal = literal.strip_suffix('"').unwrap_or(literal).to_owned();
            literals.push(Literal {
                start: at,
                end: close,
                text: literal,
            });
            close
        } else if let Some(len) = character_len(rest) {
            at + len
        } else {
            at += 1;
            continue;
        };
        blank(&mut code[at..end]);
        at = end;
    }
    (
        String::from_utf8(code).expect("only whole characters were blanked"),
        literals,
    )
}

/// The length of the block comment that begins `rest`. They nest.
fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// For a string that begins at `at`: the length up to its content, and the offset of its end.
fn string_len(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let prefix = bytes[at..]
        .iter()
        .take_while(|byte| matches!(byte, b'b' | b'c' | b'r'))
        .count();
    if prefix > 2 || prefix > 0 && at > 0 && is_word(bytes[at - 1]) {
        return None;
    }
    let is_raw = bytes[at..at + prefix].contains(&b'r');
    let hashes = bytes[at + prefix..]
        .iter()
        .take_while(|byte| is_raw && **byte == b'#')
        .count();
    let open = prefix + hashes + 1;
    if bytes.get(at + open - 1) != Some(&b'"') {
        return None;
    }
    let mut end = at + open;
    while end < bytes.len() {
        let closing = bytes[end + 1..]
            .iter()
            .take(hashes)
            .filter(|byte| **byte == b'#');
        if bytes[end] == b'\\' && !is_raw {
            end += 2;
        } else if bytes[end] == b'"' && closing.count() == hashes {
            return Some((open, end + 1 + hashes));
        } else {
            end += 1;
        }
    }
    Some((open, bytes.len()))
}

/// The length of the character literal that begins `rest`; a lifetime is none.
fn character_len(rest: &[u8]) -> Option<usize> {
    if rest.first() != Some(&b'\'') {
        return None;
    }
    if rest.get(1) == Some(&b'\\') {
        // The escaped character itself may be a quote.
        return rest
            .iter()
            .skip(3)
            .position(|byte| *byte == b'\'')
            .map(|at| at + 4);
    }
    // The longest character has four bytes; it does not matter what is cut off after them.
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]);
    let len = text.chars().next()?.len_utf8();
    (rest.get(1 + len) == Some(&b'\'')).then_some(len + 2)
}

/// Every Rust file of the repository that is written by hand.
pub(crate) fn tree() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["src", "tests", "testkit", "bench", "proto"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.map(|entry| entry.expect("a folder that was opened can be read").path())
        {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("found below the root");
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                files.push(File::new(&name.to_string_lossy().replace('\\', "/"), &text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_files(&mut files);
    files
}

/// Marks the files that another file declares as test modules.
fn mark_test_files(files: &mut [File]) {
    let declared: Vec<String> = files.iter().flat_map(File::declared_test_files).collect();
    for file in files {
        file.is_test_module = declared.contains(&file.path);
    }
}

/// The page at this path, empty if there is none.
pub(crate) fn page(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn code_is_separated_from_comments_strings_and_characters() {
    let text =
        "a // \"b\"\n/* c /* d */ e */ f(\"g \\\" h\", r#\"i \" j\"#, b\"k\", '\"', '\\'', 'l')";
    let file = File::new(
        "src/x.rs",
        &format!("{text}; fn m<'n>(o: &'n str) {{}} 'ö' var\"p\""),
    );
    assert_eq!(file.code.len(), file.text.len());
    let words: Vec<_> = file
        .code
        .split(|c: char| !c.is_alphanumeric() && c != '\'')
        .collect();
    let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["a", "f", "fn", "m", "'n", "o", "'n", "str", "var"]);
    let literals: Vec<_> = file
        .literals
        .iter()
        .map(|literal| literal.text.as_str())
        .collect();
    assert_eq!(literals, ["g \\\" h", "i \" j", "k", "p"]);
}

#[test]
fn inline_tests_are_no_production_code_but_code_after_them_is() {
    let file = File::new(
        "src/x.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod c { fn d() {} }\nfn e() {}",
    );
    let code = file.production();
    for (name, expected) in [("a", true), ("b", true), ("d", false), ("e", true)] {
        assert_eq!(code.contains(&format!("fn {name}()")), expected, "{name}");
    }
    assert_eq!(code.lines().count(), file.text.lines().count());
}

#[test]
fn a_file_that_is_declared_as_a_test_module_is_test_code() {
    let mut files = [
        File::new("src/x/mod.rs", "mod a;\n#[cfg(test)]\nmod golden;\nmod b;"),
        File::new("src/x/golden.rs", "fn f() {}"),
        File::new("src/x/b.rs", "#[cfg(test)]\nmod c;\n"),
        File::new("src/x/b/c.rs", "fn f() {}"),
    ];
    mark_test_files(&mut files);
    assert_eq!(
        files.each_ref().map(File::is_test),
        [false, true, false, true]
    );
}
