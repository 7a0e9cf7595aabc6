//! Addresses and ports that cannot be had: exit 1 and which it was, or 2 if the files say otherwise.

use std::net::TcpListener;

use crate::cli::bad_input::{assert_usage, files, run_in};
use crate::testkit::address::Block;

#[tokio::test]
async fn a_node_at_an_address_that_nobody_can_connect_to_is_refused() {
    let files = files();
    let node = "node --id one --seeds 127.0.0.1 --data-dir data --origin memory:rows.csv";
    for host in ["0.0.0.0", "::"] {
        let command = format!("{node} --host {host}");
        let told = format!("--host {host} is no address that others can connect to");
        let ended = run_in(files.path(), &[], &command).await;
        assert_usage(&command, &ended, &[&told]);
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_and_exits_1() {
    let (files, block) = (files(), Block::claim());
    let host = block.node(0);
    let cluster = format!("--host {host} --seeds {host}");
    let node = format!("node {cluster} --data-dir data --id one --origin memory:rows.csv");
    for (command, port, purpose) in [
        (format!("frontend {cluster}"), 9999, "HTTP (--port)"),
        (
            format!("frontend {cluster}"),
            2112,
            "metrics (--admin-port)",
        ),
        (node.clone(), 8001, "gRPC (--grpc-port)"),
        (node, 7000, "Raft (--raft-port)"),
        (format!("dev --host {host}"), 9999, "HTTP (--port)"),
        (format!("dev --host {host}"), 2112, "metrics (--admin-port)"),
    ] {
        let _taken = TcpListener::bind((host, port)).unwrap();
        let ended = run_in(files.path(), &[], &command).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{command}: {}",
            ended.stderr
        );
        let told = format!("cannot listen on {host}:{port} for {purpose}: the port is in use");
        assert!(ended.stderr.contains(&told), "{command}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn an_address_of_another_machine_exits_1() {
    let files = files();
    // TEST-NET-1 belongs to nobody's machine.
    let ended = run_in(files.path(), &[], "dev --host 192.0.2.1").await;
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("this machine has no such address"),
        "{}",
        ended.stderr
    );
}
