//! Passwords and certificates: who is let in, and that nobody is told with what.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::harness::fronted::{Fronted, dev, path, server, table};
use crate::harness::grown::Grown;
use crate::testkit::http::get;
use crate::testkit::postgres::{Postgres, Tls};
use crate::testkit::wait::until;

const SQL: &str = "create table rows (k text primary key, v text); \
    insert into rows select 'key-' || n, 'value-' || n from generate_series(0, 999) n; \
    create role bookworm login password 'sesame'; grant select on rows to bookworm; \
    create role idler login password 'sesame' connection limit 0";

fn rows() -> String {
    table("rows", "rows", "k", "v")
}

/// How many sessions there are of gcache's.
fn sessions(postgres: &Postgres) -> String {
    postgres.sql("select count(*) from pg_stat_activity where application_name = 'gcache'")
}

#[tokio::test]
async fn a_node_has_logged_in_before_it_joins_and_joins_without_a_server_that_is_silent() {
    let (_folder, mut postgres) = server(SQL, &[], None);
    let grown = Grown::start_over(postgres.url(), 1, 0).await;
    // Nobody has asked for anything, and there is no group yet.
    assert_eq!(sessions(&postgres), "4");
    drop(grown);
    until("the node's sessions end", async || {
        match &*sessions(&postgres) {
            "0" => Ok(()),
            open => Err(format!("{open} are open")),
        }
    })
    .await;
    postgres.pause();
    let _grown = Grown::start_over(postgres.url(), 1, 0).await;
    postgres.resume();
}

#[tokio::test]
async fn a_refused_log_in_is_503_and_nobody_is_told_who_tried_with_what() {
    let (folder, postgres) = server(SQL, &[], None);
    for (user, password, database, told) in [
        (
            "bookworm",
            "open-barley",
            "postgres",
            "wrong user or password",
        ),
        (
            "nobody-here",
            "open-barley",
            "postgres",
            "wrong user or password",
        ),
        ("bookworm", "sesame", "nowhere", "nowhere"),
        ("idler", "sesame", "postgres", "53300"),
    ] {
        let url = postgres.url_of(user, password, database);
        let dev = dev(&folder, &url, &rows(), &["process.log=debug"], &[]).await;
        let answer = get(dev.http, "/v1/rows/key-1").await;
        answer.assert_problem(503, "origin-unavailable", &[told]);
        let ready = get(dev.http, "/readyz?verbose").await.text();
        let log = dev.process.stderr() + &dev.process.stdout();
        assert!(!log.contains(password), "{log}");
        for text in [answer.text(), ready] {
            assert!(!text.contains(user) && !text.contains(password), "{text}");
        }
    }
}

#[tokio::test]
async fn the_password_may_come_from_the_environment() {
    let (folder, postgres) = server(SQL, &[], None);
    let url = postgres.url_of("bookworm", "open-barley", "postgres");
    let env = [("GCACHE__ORIGIN__PASSWORD", "sesame")];
    let dev = dev(&folder, &url, &rows(), &["process.log=debug"], &env).await;
    let answer = get(dev.http, "/v1/rows/key-1").await;
    answer.assert_value("value-1");
    let log = dev.process.stderr();
    assert!(
        !log.contains("sesame") && !log.contains("open-barley"),
        "{log}"
    );
}

#[tokio::test]
async fn a_password_file_that_changes_is_used_for_the_next_connection() {
    let (folder, postgres) = server(SQL, &[], None);
    let file = folder.path().join("password");
    std::fs::write(&file, "sesame\n").unwrap();
    let url = postgres.url_of("bookworm", "open-barley", "postgres");
    let set = format!("origin.password_file={}", file.display());
    let fronted = Fronted::before(folder, postgres, &url, &rows(), &[&set]).await;
    // Several idle connections, each of which is to be found dead.
    let ask = |row: usize| get_row(&fronted, row);
    let (one, two, three) = tokio::join!(ask(1), ask(2), ask(3));
    assert_eq!([one, two, three], [200; 3]);

    std::fs::write(&file, "open-oats").unwrap();
    fronted.postgres.sql(
        "alter role bookworm password 'open-oats'; select pg_terminate_backend(pid) \
         from pg_stat_activity where application_name = 'gcache'",
    );
    let mut row = 3;
    until("a miss is served again", async || {
        row += 1;
        let answer = fronted.get("rows", &format!("key-{row}")).await;
        // A connection may be found dead by the statement that was sent on it.
        assert!(!answer.text().contains("log-in"), "{answer:?}");
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let log = fronted.dev.process.stderr();
    assert!(
        !log.contains("sesame") && !log.contains("open-oats"),
        "{log}"
    );
}

async fn get_row(fronted: &Fronted, row: usize) -> u16 {
    fronted.get("rows", &format!("key-{row}")).await.status
}

/// Writes an authority's certificate, and one that it gave to 127.0.0.1.
fn certify(folder: &TempDir, name: &str) -> Result<(PathBuf, Tls), rcgen::Error> {
    let write = |file: &str, text: &str| {
        let path = folder.path().join(format!("{name}.{file}"));
        std::fs::write(&path, text).expect("the test's folder is writable");
        path
    };
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate()?;
    let root = write("root.pem", &params.self_signed(&key)?.pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let cert = params.signed_by(&key, &issuer)?;
    let tls = Tls {
        cert: write("cert.pem", &cert.pem()),
        key: write("key.pem", &key.serialize_pem()),
    };
    Ok((root, tls))
}

#[tokio::test]
async fn a_server_with_a_certificate_is_believed_by_who_knows_its_authority() {
    let certificates = tempfile::tempdir().unwrap();
    let (root, tls) = certify(&certificates, "right").unwrap();
    let (other, _) = certify(&certificates, "wrong").unwrap();
    let (folder, postgres) = server(SQL, &[], Some(tls));
    let (root, other) = (root.display(), other.display());
    for (parameters, told) in [
        (format!("sslmode=verify-full&sslrootcert={root}"), None),
        (format!("sslmode=verify-ca&sslrootcert={root}"), None),
        ("sslmode=require".to_owned(), None),
        ("sslmode=prefer".to_owned(), None),
        (
            format!("sslmode=verify-full&sslrootcert={other}"),
            Some("certificate"),
        ),
        ("sslmode=verify-full".to_owned(), Some("certificate")),
        ("sslmode=disable".to_owned(), Some("pg_hba.conf")),
    ] {
        let url = format!("{}?{parameters}", postgres.url());
        let dev = dev(&folder, &url, &rows(), &[], &[]).await;
        let answer = get(dev.http, &path("rows", "key-1")).await;
        match told {
            None => answer.assert_value("value-1"),
            Some(told) => answer.assert_problem(503, "origin-unavailable", &[told]),
        }
    }
}
