//! A small HTTP/1.1 client that sends what it is told to, byte for byte, also what is wrong.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::wait::in_time;

/// Characters of a body, or bytes of a request, that a failure shows.
const SHOWN: usize = 400;

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// As a failed assertion should show it: on few lines, the body as text and not longer than useful.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = self.text().chars().take(SHOWN).collect();
        write!(f, "{} {:?} {body:?}", self.status, self.headers)
    }
}

impl Answer {
    /// The header's value; names are compared without regard to case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// `Cache-Status`, or nothing.
    pub(crate) fn cache_status(&self) -> &str {
        self.header("cache-status").unwrap_or_default()
    }

    /// It is this value, from wherever.
    #[track_caller]
    pub(crate) fn assert_value(&self, value: &str) {
        let seen = (self.status, self.text());
        assert_eq!(seen, (200, value.to_owned()), "{self:?}");
    }

    /// It is this problem, and says each of these.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, problem: &str, told: &[&str]) {
        let seen = (self.status, self.problem());
        assert_eq!(seen, (status, problem.to_owned()), "{self:?}");
        let text = self.text();
        for part in told {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
    }

    /// The body as text, for assertions and messages.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} of {self:?}", self.text()))
    }

    /// The last part of the problem's type; panics if this is no well-formed problem.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["title"].is_string(), "{problem}");
        let kind = problem["type"].as_str().unwrap_or_default();
        kind.strip_prefix("urn:gcache:problem:")
            .unwrap_or_else(|| panic!("a type of ours in {problem}"))
            .to_owned()
    }
}

/// A connection that is kept open.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) async fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads the next answer, of a request other than HEAD.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        let mut answer = self.head().await?;
        let length = answer.header("content-length").map_or(Ok(0), str::parse);
        let length: usize = length.map_err(|error| broken(&format!("content-length: {error}")))?;
        if !matches!(answer.status, 204 | 304) {
            answer.body.resize(length, 0);
            self.stream.read_exact(&mut answer.body).await?;
        }
        Ok(answer)
    }

    /// Reads an answer that has no body: that of HEAD.
    pub(crate) async fn head(&mut self) -> io::Result<Answer> {
        let first = self.line().await?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| broken(&first))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Answer {
                    status,
                    headers,
                    body: Vec::new(),
                });
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Sends a request without a body and reads the answer.
    pub(crate) async fn ask(&mut self, method: &str, path: &str) -> io::Result<Answer> {
        self.send(request(method, path, &[], b"").as_slice())
            .await?;
        if method == "HEAD" {
            self.head().await
        } else {
            self.answer().await
        }
    }

    /// Whatever is left until the server closes; none if it reset the connection.
    pub(crate) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).await?;
        Ok(rest)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') || line.pop() != Some(b'\r') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// One request without a body on a connection of its own.
pub(crate) async fn ask(server: SocketAddr, method: &str, path: &str) -> Answer {
    let claim = format!("{method} {path} at {server} is answered");
    try_ask(server, method, path)
        .await
        .unwrap_or_else(|error| panic!("{claim}: {error}"))
}

/// As [`ask`], of a server that may be gone.
pub(crate) async fn try_ask(server: SocketAddr, method: &str, path: &str) -> io::Result<Answer> {
    let exchange = async { Connection::open(server).await?.ask(method, path).await };
    in_time(
        &format!("{method} {path} at {server} is answered"),
        exchange,
    )
    .await
}

/// `GET` on a connection of its own.
pub(crate) async fn get(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path).await
}

/// These bytes on a connection of their own.
pub(crate) async fn ask_raw(server: SocketAddr, bytes: &[u8]) -> Answer {
    let exchange = async {
        let mut connection = Connection::open(server).await?;
        connection.send(bytes).await?;
        connection.answer().await
    };
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let answered = in_time(&format!("{shown:?} is answered"), exchange).await;
    answered.unwrap_or_else(|error: io::Error| panic!("{shown:?} at {server}: {error}"))
}

/// As [`try_ask`], for threads without a runtime: the status and the whole text of an answer to a request without a
/// body. Connecting may take as long as `patience`, and so may each piece of the answer.
pub(crate) fn ask_blocking(
    server: SocketAddr,
    method: &str,
    path: &str,
    patience: Duration,
) -> io::Result<(u16, String)> {
    let mut stream = std::net::TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let headers = [("connection", "close")];
    stream.write_all(&request(method, path, &headers, b""))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1);
    let status = status.and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| broken(&text))?, text))
}
