//! Connections that fall silent without ending, as behind a firewall or a proxy that forgot them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::harness::fronted::{Fronted, server, table};
use crate::testkit::wait::until;

/// Passes bytes on to `server`, until it is told to keep all that come on the connections that there
/// are. Their ends notice nothing. Connections that come later are passed on.
struct Proxy {
    address: SocketAddr,
    silence: Arc<Notify>,
}

impl Proxy {
    async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let silence = Arc::new(Notify::new());
        let proxy = Self {
            address: listener.local_addr().expect("it is bound"),
            silence: Arc::clone(&silence),
        };
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if let Ok(far) = TcpStream::connect(&server).await {
                    tokio::spawn(pass(near, far, Arc::clone(&silence)));
                }
            }
        });
        proxy
    }

    fn fall_silent(&self) {
        self.silence.notify_waiters();
    }
}

async fn pass(mut near: TcpStream, mut far: TcpStream, silence: Arc<Notify>) {
    let told = silence.notified();
    tokio::select! {
        _ended = copy_bidirectional(&mut near, &mut far) => {}
        () = told => {
            // Both stay open as long as the test runs.
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_used_once_more_at_most() {
    let sql = "create table rows (k text primary key, v text); \
        insert into rows select n, n from generate_series(1, 999) n";
    let (folder, postgres) = server(sql, &[], None);
    let proxy = Proxy::start(format!("127.0.0.1:{}", postgres.port())).await;
    let url = format!("postgres://postgres:gcache@{}/postgres", proxy.address);
    let groups = table("rows", "rows", "k", "v") + &table("late", "late", "k", "v");
    let set = [
        "origin.max_connections=1",
        "origin.pipeline_depth=1",
        "origin.timeout=1s",
    ];
    let fronted = Fronted::before(folder, postgres, &url, &groups, &set).await;
    // Three nodes check two groups over the one connection when they start.
    until("rows is served", async || {
        let answer = fronted.get("rows", "1").await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let late = fronted.get("late", "1").await;
    late.assert_problem(502, "bad-statement", &[]);
    let later =
        "create table late (k text primary key, v text); insert into late select * from rows";
    fronted.postgres.sql(later);

    // The statement of one group is known by then, that of the other has yet to be made.
    for group in ["late", "rows"] {
        proxy.fall_silent();
        let mut asked = 1;
        until(&format!("{group} is served"), async || {
            asked += 1;
            let answer = fronted.get(group, &asked.to_string()).await;
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer)
            }
        })
        .await;
        assert!(asked <= 6, "{group}: {asked} were asked for");
    }
}
