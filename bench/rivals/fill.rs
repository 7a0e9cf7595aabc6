//! Puts rows into memcached and Redis, and asks them about themselves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};

/// Rows that are sent before their answers are read.
const BATCH: usize = 1000;

/// A row: its key and its value.
pub(crate) type Row = (String, String);

/// Stores rows in memcached.
pub(crate) fn memcached(server: SocketAddr, rows: impl Iterator<Item = Row>) -> anyhow::Result<()> {
    let set = |(key, value): &Row| format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
    pipelined(server, rows, set, b"STORED\r\n")
}

/// Stores rows in Redis.
pub(crate) fn redis(server: SocketAddr, rows: impl Iterator<Item = Row>) -> anyhow::Result<()> {
    let set = |(key, value): &Row| {
        let (keys, values) = (key.len(), value.len());
        format!("*3\r\n$3\r\nSET\r\n${keys}\r\n{key}\r\n${values}\r\n{value}\r\n")
    };
    pipelined(server, rows, set, b"+OK\r\n")
}

fn pipelined(
    server: SocketAddr,
    mut rows: impl Iterator<Item = Row>,
    set: impl Fn(&Row) -> String,
    done: &[u8],
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    loop {
        let batch: Vec<String> = rows.by_ref().take(BATCH).map(|row| set(&row)).collect();
        if batch.is_empty() {
            return Ok(());
        }
        stream.write_all(batch.concat().as_bytes())?;
        let mut answers = vec![0; done.len() * batch.len()];
        stream.read_exact(&mut answers)?;
        ensure!(
            answers == done.repeat(batch.len()),
            "{server} refused rows: {:?}",
            String::from_utf8_lossy(&answers[..done.len()])
        );
    }
}

/// A number that `stats` of memcached tells.
pub(crate) fn memcached_stat(server: SocketAddr, name: &str) -> anyhow::Result<u64> {
    told(server, b"stats\r\n", &format!("STAT {name} "))
}

/// A number that `INFO` of Redis tells.
pub(crate) fn redis_info(server: SocketAddr, name: &str) -> anyhow::Result<u64> {
    told(server, b"INFO\r\n", &format!("{name}:"))
}

/// The number behind `prefix` in the lines that answer `question`.
fn told(server: SocketAddr, question: &[u8], prefix: &str) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(question)?;
    // Neither closes the connection after its answer, so that a missing line must not be waited for.
    stream.set_read_timeout(Some(std::time::Duration::from_secs(5)))?;
    for line in BufReader::new(stream).lines() {
        if let Some(number) = line?.strip_prefix(prefix) {
            return number.trim().parse().context("a number");
        }
    }
    anyhow::bail!("{server} does not tell {prefix}")
}
