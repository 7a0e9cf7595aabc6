//! Puts rows into memcached.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::ensure;

/// Rows that are sent before their answers are read.
const BATCH: usize = 1000;

/// A row: its key and its value.
pub(crate) type Row = (String, String);

/// Stores rows in memcached.
pub(crate) fn memcached(server: SocketAddr, rows: impl Iterator<Item = Row>) -> anyhow::Result<()> {
    let set = |(key, value): &Row| format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
    pipelined(server, rows, set, b"STORED\r\n")
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
