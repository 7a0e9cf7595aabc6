//! Addresses and ports that cannot be had: exit 1 and which it was, or 2 if the files say otherwise.

use std::net::TcpListener;

use crate::bad_input::{MEMBERS, assert_usage, files, run_in};
use crate::harness::address::Block;

#[tokio::test]
async fn a_node_that_is_not_where_the_list_has_it_is_refused() {
    let files = files();
    let node = "node --members members.toml --groups groups.toml --origin memory:rows.csv";
    for (more, told) in [
        (
            "--id two",
            "two is listed at 127.0.0.2:8001, and this process would listen at 127.0.0.1:8001",
        ),
        (
            "--id one --grpc-port 8002",
            "would listen at 127.0.0.1:8002",
        ),
    ] {
        let command = format!("{node} {more}");
        assert_usage(
            &command,
            &run_in(files.path(), &[], &command).await,
            &[told],
        );
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_and_exits_1() {
    let (files, block) = (files(), Block::claim());
    let host = block.node(0);
    let members = MEMBERS.replace("127.0.0.1", &host.to_string());
    std::fs::write(files.path().join("members.toml"), members).unwrap();
    let cluster = format!("--host {host} --members members.toml --groups groups.toml");
    let node = format!("node {cluster} --id one --origin memory:rows.csv");
    for (command, port, purpose) in [
        (format!("frontend {cluster}"), 9999, "HTTP (--port)"),
        (
            format!("frontend {cluster}"),
            2112,
            "metrics (--admin-port)",
        ),
        (node, 8001, "gRPC (--grpc-port)"),
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
