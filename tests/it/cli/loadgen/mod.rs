//! `gcache loadgen`: what it counts is what happened, and a stall cannot hide from it.

mod counts;
mod mistakes;
mod stalls;

use std::path::Path;

use serde_json::Value;

use crate::testkit::process::{Ended, Process, Start};

fn spawn(dir: &Path, args: &str) -> Process {
    let args: Vec<_> = ["loadgen"].into_iter().chain(args.split(' ')).collect();
    Start::new("loadgen", dir).gcache(&args)
}

async fn run(dir: &Path, args: &str) -> Ended {
    spawn(dir, args).ended().await
}

/// The JSON that `--json report.json` left; panics if the run failed.
fn report(dir: &Path, ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    read(&dir.join("report.json"))
}

fn read(path: &Path) -> Value {
    let text = std::fs::read(path).expect("the report was written");
    serde_json::from_slice(&text).expect("the report is JSON")
}

fn number(report: &Value, path: &str) -> u64 {
    let value = report.pointer(path).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{path} in {report:#}"))
}
