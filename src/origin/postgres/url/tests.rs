//! What a URL means, parameter by parameter, and what none may say of its password.

use super::*;

fn good(url: &str) -> Address {
    parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn bad(url: &str) -> UrlError {
    match parse(url) {
        Ok(address) => panic!("{url} was read as {address:?}"),
        Err(error) => error,
    }
}

fn value(name: &'static str) -> impl Fn(&UrlError) -> bool {
    move |error| matches!(error, UrlError::Value { name: found, .. } if *found == name)
}

#[test]
fn every_part_of_a_url_arrives_decoded() {
    let config = good(
        "postgresql://us%40er:p%2Fw%3A%25@db.example:6432,[::1],%2Fvar%2Frun:7/my%2Fdb\
         ?application_name=a%20b&options=-c%20work_mem%3D1MB&connect_timeout=3\
         &target_session_attrs=read-only&channel_binding=require&load_balance_hosts=random\
         &keepalives_interval=4&keepalives_count=5&keepalives_idle=6&tcp_user_timeout=1500",
    )
    .config;
    assert_eq!(config.get_user(), Some("us@er"));
    assert_eq!(config.get_password(), Some(b"p/w:%".as_slice()));
    assert_eq!(
        config.get_hosts(),
        [
            Host::Tcp("db.example".to_owned()),
            Host::Tcp("::1".to_owned()),
            Host::Unix("/var/run".into())
        ]
    );
    assert_eq!(config.get_ports(), [6432, 5432, 7]);
    assert_eq!(config.get_dbname(), Some("my/db"));
    assert_eq!(config.get_application_name(), Some("a b"));
    assert_eq!(config.get_options(), Some("-c work_mem=1MB"));
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(3)));
    assert_eq!(
        config.get_target_session_attrs(),
        TargetSessionAttrs::ReadOnly
    );
    assert_eq!(config.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(config.get_load_balance_hosts(), LoadBalanceHosts::Random);
    assert_eq!(
        config.get_keepalives_interval(),
        Some(Duration::from_secs(4))
    );
    assert_eq!(config.get_keepalives_retries(), Some(5));
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(6));
    assert_eq!(
        config.get_tcp_user_timeout(),
        Some(&Duration::from_millis(1500))
    );
}

#[test]
fn a_silent_url_gets_our_defaults() {
    let Address { config, tls } = good("postgres://h");
    assert_eq!(config.get_application_name(), Some("gcache"));
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
    assert_eq!(
        config.get_tcp_user_timeout(),
        Some(&Duration::from_secs(10))
    );
    assert_eq!(config.get_connect_timeout(), None);
    assert_eq!(config.get_ports(), [5432]);
    assert_eq!((config.get_user(), config.get_dbname()), (None, None));
    assert_eq!(config.get_ssl_mode(), config::SslMode::Prefer);
    assert_eq!(
        tls,
        Tls {
            mode: SslMode::Prefer,
            root: None
        }
    );
    for url in ["postgres://h/", "postgres://@h/?dbname=", "postgres://h?"] {
        assert_eq!(good(url).config, config, "{url}");
    }
}

#[test]
fn parameters_may_stand_for_any_part() {
    assert_eq!(
        good("postgres:///?host=a,%2Frun&port=1,&user=u&password=%FFp&dbname=d").config,
        {
            let mut config = good("postgres://u@a:1,%2Frun:5432/d").config;
            config.password(b"\xFFp");
            config
        }
    );
    assert_eq!(good("postgres://a,b?port=7").config.get_ports(), [7, 7]);
    let config = good("postgres://a,b?hostaddr=10.0.0.1,::1").config;
    assert_eq!(
        config.get_hostaddrs(),
        [
            IpAddr::from([10, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        ]
    );
}

#[test]
fn each_sslmode_and_root_means_what_libpq_means() {
    use config::SslMode as Driver;
    let file = || Some(Root::File("/ca.pem".into()));
    for (query, driver, mode, root) in [
        ("sslmode=disable", Driver::Disable, SslMode::Disable, None),
        ("sslmode=prefer", Driver::Prefer, SslMode::Prefer, None),
        ("sslmode=require", Driver::Require, SslMode::Require, None),
        (
            "sslmode=require&sslrootcert=%2Fca.pem",
            Driver::Require,
            SslMode::Require,
            file(),
        ),
        (
            "sslrootcert=/ca.pem&sslmode=verify-ca",
            Driver::Require,
            SslMode::VerifyCa,
            file(),
        ),
        (
            "sslmode=verify-ca",
            Driver::Require,
            SslMode::VerifyCa,
            Some(Root::System),
        ),
        (
            "sslmode=verify-full&sslrootcert=/ca.pem",
            Driver::Require,
            SslMode::VerifyFull,
            file(),
        ),
        (
            "sslmode=verify-full",
            Driver::Require,
            SslMode::VerifyFull,
            Some(Root::System),
        ),
        (
            "sslmode=verify-full&sslrootcert=system",
            Driver::Require,
            SslMode::VerifyFull,
            Some(Root::System),
        ),
        (
            "sslrootcert=system",
            Driver::Require,
            SslMode::VerifyFull,
            Some(Root::System),
        ),
    ] {
        let Address { config, tls } = good(&format!("postgres://h/d?{query}"));
        assert_eq!(config.get_ssl_mode(), driver, "{query}");
        assert_eq!(tls, Tls { mode, root }, "{query}");
    }
}

#[test]
fn contradictions_about_tls_are_refused() {
    for (query, error) in [
        ("sslmode=allow", UrlError::Allow),
        ("sslmode=disable&sslrootcert=/ca", UrlError::RootUnused),
        ("sslmode=prefer&sslrootcert=/ca", UrlError::RootUnused),
        ("sslrootcert=/ca", UrlError::RootUnused),
        ("sslmode=disable&sslrootcert=system", UrlError::RootUnused),
        (
            "sslmode=require&sslrootcert=system",
            UrlError::SystemNeedsName,
        ),
        (
            "sslmode=verify-ca&sslrootcert=system",
            UrlError::SystemNeedsName,
        ),
    ] {
        assert_eq!(bad(&format!("postgres://h/d?{query}")), error, "{query}");
    }
    for query in ["sslmode=", "sslmode=Require", "sslmode=verify_full"] {
        let error = bad(&format!("postgres://h/d?{query}"));
        assert!(value("sslmode")(&error), "{query}: {error}");
        assert!(error.to_string().contains("verify-full"), "{error}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = bad(&format!("postgres://h,%2Frun/d?sslmode={mode}"));
        assert_eq!(error, UrlError::TlsOnSocket, "{mode}");
    }
    for mode in ["disable", "prefer"] {
        good(&format!("postgres://%2Frun/d?sslmode={mode}"));
    }
}

#[test]
fn a_mistake_is_named() {
    let twice = |name| UrlError::Twice { name };
    for (url, error) in [
        ("mysql://h/d", UrlError::Scheme),
        ("host=h user=u", UrlError::Scheme),
        ("postgres://", UrlError::NoHost),
        ("postgres:///d", UrlError::NoHost),
        ("postgres://u@/d", UrlError::NoHost),
        ("postgres://u@:5432/d", UrlError::NoHost),
        ("postgres://a,,b/d", UrlError::NoHost),
        ("postgres://?host=", UrlError::NoHost),
        ("postgres://[::1/d", UrlError::BadHost { number: 1 }),
        ("postgres://a,[::1]x/d", UrlError::BadHost { number: 2 }),
        ("postgres://h:0/d", UrlError::BadPort { number: 1 }),
        ("postgres://a,h:65536/d", UrlError::BadPort { number: 2 }),
        ("postgres://h:+1/d", UrlError::BadPort { number: 1 }),
        ("postgres://h:/d", UrlError::BadPort { number: 1 }),
        ("postgres://a,b?port=1,x", UrlError::BadPort { number: 2 }),
        ("postgres://h/d?sslmode", UrlError::NotPair),
        ("postgres://h/d?user=u&", UrlError::NotPair),
        ("postgres://h?user=a&user=a", twice("user")),
        (
            "postgres://h?sslmode=require&sslmode=require",
            twice("sslmode"),
        ),
        ("postgres://u@h?user=u", twice("user")),
        ("postgres://u:p@h?password=p", twice("password")),
        ("postgres://h/d?dbname=d", twice("dbname")),
        ("postgres://h?host=h", twice("host")),
        ("postgres://h:1?port=1", twice("port")),
        ("postgres://%zz/d", UrlError::Encoding { part: "a host" }),
        ("postgres://h/%ff", UrlError::Encoding { part: "dbname" }),
        ("postgres://h/d%00", UrlError::Encoding { part: "dbname" }),
        ("postgres://h/d%2", UrlError::Encoding { part: "dbname" }),
        (
            "postgres://a,b?port=1,2,3",
            UrlError::Count {
                name: "port",
                given: 3,
                hosts: 2,
            },
        ),
        (
            "postgres://a,b?hostaddr=::1",
            UrlError::Count {
                name: "hostaddr",
                given: 1,
                hosts: 2,
            },
        ),
    ] {
        assert_eq!(bad(url), error, "{url}");
    }
    for (query, name) in [
        ("hostaddr=localhost", "hostaddr"),
        ("connect_timeout=0", "connect_timeout"),
        ("connect_timeout=5s", "connect_timeout"),
        ("keepalives=yes", "keepalives"),
        ("keepalives_idle=-1", "keepalives_idle"),
        ("keepalives_interval=", "keepalives_interval"),
        ("keepalives_count=0", "keepalives_count"),
        ("tcp_user_timeout=1.5", "tcp_user_timeout"),
        ("target_session_attrs=primary", "target_session_attrs"),
        ("channel_binding=1", "channel_binding"),
        ("load_balance_hosts=on", "load_balance_hosts"),
        ("sslrootcert=", "sslrootcert"),
    ] {
        let error = bad(&format!("postgres://h/d?{query}"));
        assert!(value(name)(&error), "{query}: {error}");
    }
}

#[test]
fn an_unknown_parameter_is_named_with_the_known_ones() {
    let error = bad("postgres://u:secret@h/d?sslkey=/key").to_string();
    assert!(error.contains("\"sslkey\""), "{error}");
    for known in PARAMETERS {
        assert!(error.contains(known), "{error}");
    }
}

#[test]
fn every_known_parameter_can_be_given() {
    for name in PARAMETERS {
        let value = match name {
            "channel_binding" => "prefer",
            "hostaddr" => "::1",
            "load_balance_hosts" | "sslmode" => "disable",
            "sslrootcert" => "system",
            "target_session_attrs" => "any",
            _ => "1",
        };
        let host = if name == "host" { "" } else { "h" };
        good(&format!("postgres://{host}?{name}={value}"));
    }
}

#[test]
fn no_error_shows_credentials_however_the_url_is_mistyped() {
    for url in [
        "postgres://user9:secret@h:x/d",
        "postgres://user9:sec@ret@h/d",
        "postgres://user9:sec/ret@h/d",
        "postgres://user9:sec?ret=secret@h/d",
        "postgres://user9:sec?sslmode=secret@h/d",
        "postgres://user9@x:sec?secret=1@h/d",
        "postgres://user9:12/secret@h/d",
        "postgres://user9:12?user=secret@h/d",
        "postgres://user9:secret/d",
        "postgres://user9:[secret/d",
        "postgres://user9:%secret@h/d",
        "postgres://user9:secret%ff@h/d?sslmode=x",
        "postgres://user9:secret%00@h/d",
        "postgres://%user9:secret@h/d",
        "postgres://user9:secret@h/d?sslmode=allow",
        "postgres://user9:secret@h/d?nonsense=1",
        "postgres://h/d?user=user9&password=x&secret=1",
        "postgres://h/d?user=user9&p%61ssword=x&secret=1",
        "postgres://h/d?user=user9&password=x&secret",
        "postgres://h/d?user=%user9&password=%secret",
        "postgres://h/d?user=user9&user=user9&password=secret",
        "user9:secret@h/d",
    ] {
        let error = bad(url);
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(
                !shown.contains("secret") && !shown.contains("user9"),
                "{url}: {shown}"
            );
        }
    }
}

#[test]
fn a_description_has_hosts_and_database_only() {
    for (url, shown) in [
        (
            "postgres://u:secret@h/d?options=secret",
            "postgres://h:5432/d",
        ),
        (
            "postgresql://u@a:1,[::1],%2Frun:2?sslmode=prefer",
            "postgres://a:1,[::1]:5432,%2Frun:2",
        ),
        (
            "postgres://u:secret@h/d%0Ab%2Fc",
            "postgres://h:5432/d%0Ab%2Fc",
        ),
    ] {
        let address = good(url);
        assert_eq!(address.describe(), shown);
        let debug = format!("{address:?}");
        assert!(
            debug.contains(shown) && !debug.contains("secret"),
            "{debug}"
        );
    }
}
