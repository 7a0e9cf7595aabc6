//! The process beside the counted one: it asks a node or a frontend, and nothing of it is counted.

use std::io::{BufRead, Read, Write, stdin, stdout};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures_util::future::join_all;
use gcache::rpc::proto::GetRequest;
use gcache::rpc::proto::cache_client::CacheClient;
use gcache::shutdown::Shutdown;
use tokio::runtime::Builder;

use crate::loopback::{self, VALUE_BYTES, config};

/// Keys that are asked for, again and again: enough to be in different partitions, and soon cached.
const KEYS: usize = 64;

/// A counted node is slow: fifty times slower than others. It is asked for no sign of life meanwhile, which
/// would cost more the slower the machine is.
const PATIENT: &[&str] = &[
    "pipeline.connect_timeout=10s",
    "pipeline.ping_interval=10s",
    "pipeline.ping_timeout=60s",
];

/// Said once every key is cached.
pub(crate) const WARM: &str = "warm";

/// Said when everything was asked for.
pub(crate) const DONE: &str = "done";

/// Does what `words` say: `calls IN_FLIGHT OPERATIONS PORT`, `unary OPERATIONS PORT` or `gets OPERATIONS`.
pub(crate) fn serve(words: &[String]) -> anyhow::Result<()> {
    // One thread: the calls of a batch are all made before any is sent.
    let asking = Builder::new_current_thread().enable_all().build()?;
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["calls", in_flight, operations, port] => {
            let calls = calls(in_flight.parse()?, operations.parse()?, port.parse()?);
            asking.block_on(calls)
        }
        ["unary", operations, port] => asking.block_on(unary(operations.parse()?, port.parse()?)),
        ["gets", operations] => {
            // The node's.
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            let _in_runtime = runtime.enter();
            gets(operations.parse()?)
        }
        _ => bail!("not understood: {words:?}"),
    }
}

/// Says something to the counted process, and waits until that lets this one go on.
fn say(word: &str) -> anyhow::Result<String> {
    println!("{word}");
    stdout().flush()?;
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    Ok(line)
}

/// Asks a node through a pipeline, with so many calls at a time.
async fn calls(in_flight: usize, operations: usize, port: u16) -> anyhow::Result<()> {
    let pipeline = loopback::pipeline(&config(PATIENT), port, &Shutdown::new()).await;
    for (count, word) in [(KEYS, WARM), (operations, DONE)] {
        for round in 0..count / in_flight {
            let calls = (0..in_flight).map(|call| {
                let key = loopback::key((round * in_flight + call) % KEYS);
                loopback::look_up(&pipeline, key.into())
            });
            join_all(calls).await;
        }
        say(word)?;
    }
    Ok(())
}

/// Asks a node one call after the other.
async fn unary(operations: usize, port: u16) -> anyhow::Result<()> {
    let mut client = CacheClient::connect(format!("http://127.0.0.1:{port}")).await?;
    for (count, word) in [(KEYS, WARM), (operations, DONE)] {
        for i in 0..count {
            let request = GetRequest {
                group: "rows".into(),
                key: loopback::key(i % KEYS).into(),
            };
            let reply = client.get(request).await?.into_inner();
            ensure!(reply.value.len() == VALUE_BYTES);
        }
        say(word)?;
    }
    Ok(())
}

/// Is a node, and asks the frontend whose port comes in on one connection.
fn gets(operations: usize) -> anyhow::Result<()> {
    let listener = gcache::net::listen(([127, 0, 0, 1], 0).into(), "counts", 16)?;
    let port = listener.local_addr()?.port();
    loopback::node(&config(&[]), listener, &Shutdown::new());
    let frontend: u16 = say(&port.to_string())?.trim().parse()?;
    let mut stream = TcpStream::connect(("127.0.0.1", frontend))?;
    stream.set_nodelay(true)?;
    // Until it has found its node, which is a moment after it began to listen.
    while !ask(&mut stream, "/readyz")?.starts_with("HTTP/1.1 200 ") {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    for (count, word) in [(KEYS, WARM), (operations, DONE)] {
        for i in 0..count {
            let reply = ask(
                &mut stream,
                &format!("/v1/rows/{}", loopback::key(i % KEYS)),
            )?;
            ensure!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
        }
        say(word)?;
    }
    Ok(())
}

/// A GET, and its whole reply.
fn ask(stream: &mut TcpStream, path: &str) -> anyhow::Result<String> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: counts\r\naccept: */*\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut reply = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let len = stream.read(&mut chunk)?;
        ensure!(len > 0, "the frontend closed the connection");
        reply.extend_from_slice(&chunk[..len]);
        let text = String::from_utf8_lossy(&reply);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.context("a reply says its length")?.parse()?;
        if body.len() >= length {
            return Ok(text.into_owned());
        }
    }
}
