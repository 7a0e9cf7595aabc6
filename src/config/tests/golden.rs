//! Files in, reports and print-outs out: pairs in `tests/data/config` that anyone can add to.

use std::fmt::Write as _;
use std::path::Path;

use super::super::{Layers, SourceFile, load, read_groups};

/// What a file in tests/data/config leads to; its name says what it is.
fn outcome(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let source = SourceFile { name, text: &text };
    let mut out = String::new();
    let error = if name.starts_with("groups") {
        read_groups(source)
            .map(|groups| write!(out, "{groups:#?}"))
            .err()
    } else {
        let layers = Layers {
            file: Some(source),
            ..Layers::default()
        };
        load(&layers)
            .map(|loaded| write!(out, "{}", loaded.printed))
            .err()
    };
    error.map_or(out, |error| error.to_string()) + "\n"
}

/// `GCACHE_BLESS=1 cargo test` writes what is into the files that say what should be.
#[test]
fn files_lead_to_what_is_expected_of_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let bless = std::env::var_os("GCACHE_BLESS").is_some();
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let expected = path.with_extension("expected");
        let outcome = outcome(&path);
        if bless {
            std::fs::write(&expected, &outcome).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(outcome, wanted, "{}", path.display());
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} files");
}
