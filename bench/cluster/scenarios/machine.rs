//! What programs of this machine say.

use std::process::Command;

/// The first line that a program prints; a dash if it is not there.
pub(crate) fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    text.lines().next().unwrap_or("-").to_owned()
}
