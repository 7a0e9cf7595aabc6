//! `gcache loadgen` at servers that stall, close, babble or never answer, and what an interrupt leaves.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{number, read, report, run, spawn};
use crate::testkit::wait::until;

/// How long the server of a test says nothing.
const STALL: Duration = Duration::from_secs(1);

/// A server that answers every request with an empty 200; the one with this number, over all
/// connections, after `stall`. Tells how many it was asked.
async fn server(stalls_at: u64, stall: Duration) -> (SocketAddr, watch::Receiver<u64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (asked, seen) = watch::channel(0_u64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, asked.clone(), stalls_at, stall));
        }
    });
    (address, seen)
}

async fn answer(stream: TcpStream, asked: watch::Sender<u64>, stalls_at: u64, stall: Duration) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        if line == "\r\n" {
            asked.send_modify(|asked| *asked += 1);
            let number = *asked.borrow();
            if number == stalls_at {
                sleep(stall).await;
            }
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(reply).await.is_err() {
                return;
            }
        }
        line.clear();
    }
}

#[tokio::test]
async fn a_stall_shows_in_the_p99_of_an_open_loop_and_hides_in_a_closed_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut p99_us = Vec::new();
    for pacing in ["--rate 200 --max-connections 1", "--connections 1"] {
        let (address, _) = server(100, STALL).await;
        let args = format!(
            "--url http://{address} --group g --keys 10 --duration 3s {pacing} --json report.json"
        );
        let ended = run(folder.path(), &args).await;
        let report = report(folder.path(), &ended);
        let max_us = number(&report, "/latency_us/max");
        assert!(u128::from(max_us) >= STALL.as_micros(), "{report:#}");
        p99_us.push(number(&report, "/latency_us/p99"));
        if pacing.starts_with("--rate") {
            assert_eq!(
                number(&report, "/requests"),
                600,
                "none was left out: {report:#}"
            );
            assert_eq!(
                number(&report, "/connects"),
                1,
                "the bound holds: {report:#}"
            );
            assert!(number(&report, "/late_requests") >= 150, "{report:#}");
            assert!(number(&report, "/greatest_lag_us") > 900_000, "{report:#}");
        }
    }
    assert!(p99_us[0] > 900_000 && p99_us[1] < 900_000, "{p99_us:?}");
}

#[tokio::test]
async fn a_request_that_is_not_answered_is_counted_by_its_cause_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = server(10, Duration::from_hours(1)).await;
    let args = format!(
        "--url http://{address} --group g --keys 10 --duration 500ms --rate 100 --timeout 2s --json report.json"
    );
    let ended = run(folder.path(), &args).await;
    let report = report(folder.path(), &ended);
    assert_eq!(number(&report, "/failures/timeout"), 1, "{report:#}");
    assert_eq!(number(&report, "/statuses/200"), 49, "{report:#}");
}

#[tokio::test]
async fn requests_that_found_no_connection_until_the_end_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = server(5, Duration::from_hours(1)).await;
    let args = format!(
        "--url http://{address} --group g --keys 10 --duration 500ms --rate 100 --max-connections 1 --timeout 3s --json report.json"
    );
    let ended = run(folder.path(), &args).await;
    let report = report(folder.path(), &ended);
    assert_eq!(number(&report, "/answered_requests"), 4, "{report:#}");
    assert_eq!(number(&report, "/failures/timeout"), 1, "{report:#}");
    assert_eq!(number(&report, "/unsent_requests"), 45, "{report:#}");
    assert_eq!(number(&report, "/requests"), 50, "{report:#}");
}

#[tokio::test]
async fn a_server_that_closes_or_babbles_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for (reply, cause) in [
        (&b""[..], "closed"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            "closed",
        ),
        (b"ho ho ho\r\n\r\n", "protocol"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                let _request = stream.read_line(&mut line).await;
                let _sent = stream.write_all(reply).await;
            }
        });
        let args = format!(
            "--url http://{address} --group g --keys 10 --duration 100ms --rate 100 --json report.json"
        );
        let ended = run(folder.path(), &args).await;
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("no request was answered"),
            "{}",
            ended.stderr
        );
        let report = read(&folder.path().join("report.json"));
        assert_eq!(
            number(&report, &format!("/failures/{cause}")),
            10,
            "{report:#}"
        );
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_run_soon_and_it_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, pacing) in [
        (Signal::SIGINT, "--rate 1000"),
        (Signal::SIGTERM, "--connections 2"),
    ] {
        let (address, seen) = server(5, Duration::from_hours(1)).await;
        let args = format!(
            "--url http://{address} --group g --keys 10 --duration 1h --timeout 5m {pacing} --json report.json"
        );
        let process = spawn(folder.path(), &args);
        until("requests are being sent", async || {
            let asked = *seen.borrow();
            if asked > 100 { Ok(()) } else { Err(asked) }
        })
        .await;
        process.signal(signal);
        let ended = process.ended().await;
        let report = report(folder.path(), &ended);
        assert_eq!(number(&report, "/unfinished_requests"), 1, "{report:#}");
        assert_eq!(report["interrupted"], true, "{report:#}");
        assert!(number(&report, "/answered_requests") > 100, "{report:#}");
        assert_eq!(number(&report, "/failed_requests"), 0, "{report:#}");
        assert!(
            report["measured_seconds"].as_f64().unwrap() < 60.0,
            "{report:#}"
        );
        assert!(ended.stdout.contains("interrupted"), "{}", ended.stdout);
    }
}
