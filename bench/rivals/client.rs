//! A small HTTP/1.1 client, to fill the rivals, to check them and to be a stampede's callers.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::workload::{KEYS, key, path, value};

/// Connections that fill and check at once.
const FILLERS: usize = 32;

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(1024, stream),
        })
    }

    /// Asks for a path; the status and the body.
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: rivals\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let mut length = 0;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, body))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

/// The body of one answer, which must be a 200.
pub(crate) async fn get(server: SocketAddr, path: &str) -> anyhow::Result<String> {
    let (status, body) = Connection::open(server).await?.get(path).await?;
    let body = String::from_utf8_lossy(&body).into_owned();
    ensure!(status == 200, "{path} at {server}: {status} {body}");
    Ok(body)
}

/// Asks for every key once: fills what fills itself, and checks every value.
pub(crate) async fn fill_and_check(server: SocketAddr) -> anyhow::Result<()> {
    let mut filling = JoinSet::new();
    for first in 0..FILLERS {
        filling.spawn(async move {
            let mut connection = Connection::open(server).await?;
            for key in (first..KEYS).step_by(FILLERS).map(key) {
                let (status, body) = connection.get(&path(&key)).await?;
                ensure!(
                    status == 200 && body == value(&key).as_bytes(),
                    "{key} at {server}: {status} {:?}",
                    String::from_utf8_lossy(&body)
                );
            }
            Ok(())
        });
    }
    while let Some(filled) = filling.join_next().await {
        filled.context("filling does not panic")??;
    }
    Ok(())
}
