//! One HTTP/1.1 connection to a frontend, opened when it is first used and again when it broke.
//!
//! A request that was sent is never sent again: it is answered, or it failed for a [`Cause`].

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use xxhash_rust::xxh3::Xxh3Default;

use super::keys::{Keys, Paths};

/// The largest head of an answer.
const MAX_HEAD_BYTES: usize = 64 << 10;

type Ask = Request<Empty<Bytes>>;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cause {
    /// There was no connection: refused, or not within the timeout.
    Connect,
    /// It was sent, and the answer was not complete within the timeout.
    Timeout,
    /// The connection broke before the answer was complete.
    Closed,
    /// What came was no HTTP.
    Protocol,
}

impl Cause {
    /// Every cause.
    pub(super) const ALL: [Self; 4] = [Self::Connect, Self::Timeout, Self::Closed, Self::Protocol];

    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }
}

/// What is kept of an answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) cache_status: Option<HeaderValue>,
    pub(super) body_bytes: u64,
    /// 0 unless bodies are verified.
    pub(super) body_hash: u64,
}

/// What became of a request, and when.
#[derive(Debug)]
pub(super) struct Asked {
    /// None if there was no connection to send it on.
    pub(super) sent: Option<Instant>,
    pub(super) ended: Instant,
    pub(super) result: Result<Reply, Cause>,
}

/// Where a connection goes and how it behaves.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) address: SocketAddr,
    /// The value of `Host`.
    pub(super) host: HeaderValue,
    /// What paths begin with.
    pub(super) path_start: String,
    pub(super) timeout: Duration,
    /// Whether bodies are hashed.
    pub(super) hashes: bool,
}

/// A connection that asks for one key at a time.
#[derive(Debug)]
pub(super) struct Connection {
    route: Route,
    paths: Paths,
    link: Option<Link>,
    /// How often it was opened.
    pub(super) connects: u64,
}

impl Asked {
    /// One that was not sent, for want of a connection.
    pub(super) fn unconnected() -> Self {
        Self {
            sent: None,
            ended: Instant::now(),
            result: Err(Cause::Connect),
        }
    }
}

impl Connection {
    /// One that is not open yet.
    pub(super) fn new(route: Route) -> Self {
        Self {
            paths: Paths::new(route.path_start.clone()),
            route,
            link: None,
            connects: 0,
        }
    }

    /// Opens it before the first request. True if that went well.
    pub(super) async fn open(&mut self) -> bool {
        let deadline = Instant::now() + self.route.timeout;
        self.connects += 1;
        let link = timeout_at(deadline, Link::open(self.route.address)).await;
        self.link = link.ok().and_then(Result::ok);
        self.link.is_some()
    }

    /// Asks for the key with this index.
    ///
    /// Not cancel-safe: dropped midway, the connection is of no more use.
    pub(super) async fn get(&mut self, keys: &Keys, index: u64) -> Asked {
        let request = self.request(keys, index);
        let deadline = Instant::now() + self.route.timeout;
        let mut sent = None;
        let exchange = timeout_at(deadline, self.exchange(request, &mut sent)).await;
        let result = exchange.unwrap_or_else(|_| {
            Err(if sent.is_some() {
                Cause::Timeout
            } else {
                Cause::Connect
            })
        });
        if result.is_err() {
            self.link = None;
        }
        Asked {
            sent,
            ended: Instant::now(),
            result,
        }
    }

    fn request(&mut self, keys: &Keys, index: u64) -> Ask {
        let path = self.paths.path(keys, index);
        let path = PathAndQuery::from_maybe_shared(path).expect("escaped parts are a path");
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = Uri::from(path);
        let host = self.route.host.clone();
        request.headers_mut().insert(header::HOST, host);
        request
    }

    async fn exchange(&mut self, request: Ask, sent: &mut Option<Instant>) -> Result<Reply, Cause> {
        let mut request = request;
        let mut is_fresh = false;
        loop {
            let link = match self.link.as_mut() {
                Some(link) => link,
                None => {
                    is_fresh = true;
                    self.connects += 1;
                    self.link.insert(Link::open(self.route.address).await?)
                }
            };
            *sent = Some(Instant::now());
            match link.ask(request, self.route.hashes).await {
                Ok(reply) => {
                    if link.has_ended {
                        self.link = None;
                    }
                    return Ok(reply);
                }
                // The server had closed it while it was idle: nothing was sent, so this is no retry.
                Err(NoReply::Unsent(back)) if !is_fresh => {
                    self.link = None;
                    *sent = None;
                    request = *back;
                }
                Err(NoReply::Unsent(_)) => return Err(Cause::Closed),
                Err(NoReply::Failed(cause)) => return Err(cause),
            }
        }
    }
}

/// An open connection. The task that asks drives it, so that no request wakes another task.
#[derive(Debug)]
struct Link {
    sender: SendRequest<Empty<Bytes>>,
    connection: http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>,
    has_ended: bool,
}

enum NoReply {
    /// Not a byte of it was sent.
    Unsent(Box<Ask>),
    Failed(Cause),
}

impl Link {
    async fn open(address: SocketAddr) -> Result<Self, Cause> {
        let stream = TcpStream::connect(address)
            .await
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|_| Cause::Connect)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Cause::Connect)?;
        Ok(Self {
            sender,
            connection,
            has_ended: false,
        })
    }

    async fn ask(&mut self, request: Ask, hashes: bool) -> Result<Reply, NoReply> {
        let sender = &mut self.sender;
        let exchange = async move {
            if sender.ready().await.is_err() {
                return Err(NoReply::Unsent(Box::new(request)));
            }
            let response = sender.try_send_request(request).await;
            let response = response.map_err(|mut error| match error.take_message() {
                Some(request) => NoReply::Unsent(Box::new(request)),
                None => NoReply::Failed(cause(error.error())),
            })?;
            read(response, hashes)
                .await
                .map_err(|error| NoReply::Failed(cause(&error)))
        };
        match select(pin!(exchange), &mut self.connection).await {
            Either::Left((reply, _)) => reply,
            // It gave the exchange all it had before it ended.
            Either::Right((_, exchange)) => {
                self.has_ended = true;
                exchange.await
            }
        }
    }
}

async fn read(response: Response<Incoming>, hashes: bool) -> hyper::Result<Reply> {
    let (mut head, mut body) = response.into_parts();
    let mut hash = hashes.then(Xxh3Default::new);
    let mut body_bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        body_bytes += data.len() as u64;
        if let Some(hash) = &mut hash {
            hash.update(&data);
        }
    }
    Ok(Reply {
        status: head.status.as_u16(),
        cache_status: head.headers.remove("cache-status"),
        body_bytes,
        body_hash: hash.map_or(0, |hash| hash.digest()),
    })
}

fn cause(error: &hyper::Error) -> Cause {
    if error.is_parse() {
        Cause::Protocol
    } else {
        Cause::Closed
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::super::plan::Plan;
    use super::super::plan::tests::options;
    use super::*;

    /// Answers one request per connection, then closes it, then takes the next.
    async fn one_request_each(listener: TcpListener, reply: &'static [u8]) {
        loop {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let mut line = String::new();
            while stream.read_line(&mut line).await.unwrap() > 0 && line != "\r\n" {
                line.clear();
            }
            stream.write_all(reply).await.unwrap();
        }
    }

    async fn connection(reply: &'static [u8]) -> (Connection, Keys) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let route = Route {
            address: listener.local_addr().unwrap(),
            host: HeaderValue::from_static("test"),
            path_start: "/v1/g/".into(),
            timeout: Duration::from_secs(30),
            hashes: true,
        };
        tokio::spawn(one_request_each(listener, reply));
        (
            Connection::new(route),
            Keys::new(&Plan::new(options()).unwrap()),
        )
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_while_idle_is_opened_again_and_no_request_fails() {
        let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n630";
        let (mut connection, keys) = connection(reply).await;
        for connects in 1..=3 {
            let asked = connection.get(&keys, 1).await;
            let reply = asked.result.unwrap();
            let seen = (reply.status, reply.body_bytes, reply.body_hash);
            assert_eq!(seen, (200, 3, xxhash_rust::xxh3::xxh3_64(b"630")));
            assert_eq!(connection.connects, connects);
            // When the server has answered this, it has closed the other one, and that was seen here.
            let mut other = TcpStream::connect(connection.route.address).await.unwrap();
            other.write_all(b"\r\n").await.unwrap();
            other.read_to_end(&mut Vec::new()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_reply_that_says_close_is_the_last_of_its_connection() {
        let reply = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        let (mut connection, keys) = connection(reply).await;
        for connects in 1..=3 {
            let asked = connection.get(&keys, 1).await;
            assert_eq!(asked.result.unwrap().status, 204);
            assert_eq!(connection.connects, connects);
        }
    }
}
