//! The probe against gateways, real and pretended, on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panic")]

use std::sync::Arc;

use aldis_wire::edge::SUBPROTOCOL;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::*;

const HOST: [u8; 32] = [7; 32];

fn anywhere(_: IpAddr) -> bool {
    true
}

fn greeting(host: [u8; 32]) -> String {
    let host = aldis_wire::hex::encode(&host);
    format!(
        r#"{{"type":"greeting","host":"{host}","network":"main","tag":"0011223344556677","version":1,"challenge":"{}"}}"#,
        "00".repeat(32)
    )
}

/// A gateway that says this and nothing else.
async fn pretend(text: String, subprotocol: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let text = text.clone();
            #[allow(clippy::result_large_err, reason = "the library's own callback")]
            let answer = move |request: &Request, mut response: Response| {
                assert_eq!(request.headers().get("sec-websocket-protocol").unwrap(), SUBPROTOCOL);
                if subprotocol {
                    let name = HeaderValue::from_static(SUBPROTOCOL);
                    response.headers_mut().insert("sec-websocket-protocol", name);
                }
                Ok(response)
            };
            let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, answer).await else { continue };
            let _ = socket.send(Message::text(text)).await;
            let _ = socket.next().await;
        }
    });
    url
}

/// A server that answers each connection with these bytes.
async fn answers(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_gateway_that_names_the_host_is_reached() {
    let url = pretend(greeting(HOST), true).await;
    assert_eq!(gateway(&url, HostId::new(HOST), anywhere).await, Ok(()));
    let by_name = url.replace("127.0.0.1", "localhost");
    assert_eq!(gateway(&by_name, HostId::new(HOST), anywhere).await, Ok(()));
}

#[tokio::test]
async fn a_gateway_that_names_another_host_is_not() {
    let url = pretend(greeting([8; 32]), true).await;
    let problem = gateway(&url, HostId::new(HOST), anywhere).await.unwrap_err();
    assert!(problem.contains("another host"), "{problem}");
}

#[tokio::test]
async fn what_does_not_greet_or_speaks_another_protocol_is_not_a_gateway() {
    for (text, subprotocol) in [("{}".to_owned(), true), ("x".repeat(20_000), true), (greeting(HOST), false)] {
        let url = pretend(text, subprotocol).await;
        gateway(&url, HostId::new(HOST), anywhere).await.unwrap_err();
    }
    for url in ["http://127.0.0.1:1/v1", "ftp://127.0.0.1/", "ws://", "nonsense"] {
        gateway(url, HostId::new(HOST), anywhere).await.unwrap_err();
    }
}

#[tokio::test]
async fn an_address_that_may_not_be_tried_gets_no_packet_whatever_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for name in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("ws://{name}:{port}/v1");
        let may = |ip| crate::relay::may_be_tried(ip, false);
        let problem = gateway(&url, HostId::new(HOST), may).await.unwrap_err();
        assert!(problem.contains("not in the public internet"), "{url}: {problem}");
    }
    assert!(tokio::time::timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "somebody connected");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("HTTP/1.1 302 Found\r\nLocation: ws://{}/v1\r\n\r\n", target.local_addr().unwrap());
    let address = answers(Box::leak(location.into_boxed_str()).as_bytes()).await;
    let problem = gateway(&format!("ws://{address}/v1"), HostId::new(HOST), anywhere).await.unwrap_err();
    assert!(problem.contains("302"), "{problem}");
    assert!(tokio::time::timeout(Duration::from_millis(100), target.accept()).await.is_err(), "it was followed");
}

#[tokio::test]
async fn a_certificate_that_browsers_do_not_trust_is_not_taken() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (stream, _) = listener.accept().await.unwrap();
        let _ = acceptor.accept(stream).await;
    });
    let problem = gateway(&format!("wss://localhost:{port}/v1"), HostId::new(HOST), anywhere).await.unwrap_err();
    assert!(problem.contains("certificate"), "{problem}");
}

#[tokio::test]
async fn a_gateway_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1", listener.local_addr().unwrap());
    let problem = gateway(&url, HostId::new(HOST), anywhere).await.unwrap_err();
    assert!(problem.contains("no greeting"), "{problem}");
}
