//! UPnP against a pretended router: what it says over UDP, and its pages.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::upnp::{Held, Igd};
use super::*;

const DESCRIPTION: &str = r#"<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType>
<deviceList><device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType>
<serviceList><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<controlURL>CONTROL</controlURL><eventSubURL>/evt</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList>
</device></deviceList></device></deviceList></device></root>"#;

const ACTIONS: [&str; 3] = ["AddPortMapping", "DeletePortMapping", "GetExternalIPAddress"];
const ARGUMENTS: [&str; 8] = [
    "NewRemoteHost",
    "NewExternalPort",
    "NewProtocol",
    "NewInternalPort",
    "NewInternalClient",
    "NewEnabled",
    "NewPortMappingDescription",
    "NewLeaseDuration",
];

#[derive(Default)]
struct Pages {
    /// Outside ports of others.
    taken: Vec<u16>,
    /// Whether it knows leases.
    permanent: bool,
    /// Whether it has no address outside.
    without_address: bool,
    /// Outside port to lease.
    mapped: BTreeMap<u16, u32>,
}

/// A router whose search is answered at the returned address.
async fn pretend_igd(control: &str) -> (SocketAddr, Arc<Mutex<Pages>>) {
    let pages = Arc::new(Mutex::new(Pages::default()));
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let search = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (at, location) = (search.local_addr().unwrap(), http.local_addr().unwrap());
    tokio::spawn(async move {
        let mut packet = [0; 1_500];
        loop {
            let (_, from) = search.recv_from(&mut packet).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{location}/desc.xml\r\n\r\n");
            search.send_to(answer.as_bytes(), from).await.unwrap();
        }
    });
    let (shown, control) = (pages.clone(), control.to_owned());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = http.accept().await.unwrap();
            let request = request(&mut stream).await;
            let (status, body) = shown.lock().unwrap().page(&request, &control);
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (at, pages)
}

async fn request(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = String::new();
    let mut part = [0; 4_096];
    loop {
        let length = stream.read(&mut part).await.unwrap();
        text.push_str(std::str::from_utf8(&part[..length]).unwrap());
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let lower = head.to_lowercase();
            let announced = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            body.len() >= announced.unwrap_or(0)
        });
        if whole || length == 0 {
            return text;
        }
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(found, _)| found)
}

impl Pages {
    fn page(&mut self, request: &str, control: &str) -> (&'static str, String) {
        if request.starts_with("GET /desc.xml") {
            return ("200 OK", DESCRIPTION.replace("CONTROL", control));
        }
        if request.starts_with("GET /scpd.xml") {
            let arguments: String = ARGUMENTS
                .iter()
                .map(|name| format!("<argument><name>{name}</name><direction>in</direction></argument>"))
                .collect();
            let actions: String = ACTIONS
                .iter()
                .map(|name| format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>"))
                .collect();
            return ("200 OK", format!("<scpd><actionList>{actions}</actionList></scpd>"));
        }
        let action = ACTIONS.into_iter().find(|action| request.contains(&format!("#{action}"))).unwrap_or("");
        let port: u16 = between(request, "<NewExternalPort>", "<").parse().unwrap_or(0);
        let lease: u32 = between(request, "<NewLeaseDuration>", "<").parse().unwrap_or(0);
        match action {
            "AddPortMapping" if self.taken.contains(&port) => fault(718, "ConflictInMappingEntry"),
            "AddPortMapping" if self.permanent && lease != 0 => fault(725, "OnlyPermanentLeasesSupported"),
            "AddPortMapping" => {
                self.mapped.insert(port, lease);
                said(action, "")
            }
            "DeletePortMapping" => {
                self.mapped.remove(&port);
                said(action, "")
            }
            _ if self.without_address => said(action, "<NewExternalIPAddress></NewExternalIPAddress>"),
            _ => said(action, "<NewExternalIPAddress>81.2.69.142</NewExternalIPAddress>"),
        }
    }
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn said(action: &str, body: &str) -> (&'static str, String) {
    let service = "urn:schemas-upnp-org:service:WANIPConnection:1";
    ("200 OK", envelope(&format!("<u:{action}Response xmlns:u=\"{service}\">{body}</u:{action}Response>")))
}

fn fault(code: u16, words: &str) -> (&'static str, String) {
    let detail = format!("<errorCode>{code}</errorCode><errorDescription>{words}</errorDescription>");
    let error = format!("<UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\">{detail}</UPnPError>");
    let body = format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>{error}</detail></s:Fault>"
    );
    ("500 Internal Server Error", envelope(&body))
}

fn here() -> Router {
    let local = Ipv4Addr::LOCALHOST.into();
    Router { address: local, zone: None, own: local }
}

async fn found(at: SocketAddr) -> Igd {
    Igd::search(here(), at, DEADLINE).await.unwrap()
}

#[tokio::test]
async fn a_port_is_mapped_by_upnp_renewed_and_taken_back() {
    let (at, pages) = pretend_igd("/ctl").await;
    let mut held = Held::new(found(at).await, &links()).await.unwrap();
    let outside = "81.2.69.142:47474".parse().unwrap();
    assert_eq!(held.mapped(), [Mapping { outside, protocol: MappingProtocol::Upnp, of: Mapped::Links }]);
    assert_eq!(pages.lock().unwrap().mapped, BTreeMap::from([(LINKS, LEASE_SECONDS)]));
    pages.lock().unwrap().mapped.clear();
    held.renew(&links()).await.unwrap();
    assert_eq!(pages.lock().unwrap().mapped, BTreeMap::from([(LINKS, LEASE_SECONDS)]), "after it restarted");
    held.release().await.unwrap();
    assert_eq!(pages.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn a_router_that_tells_no_address_of_its_own_has_none() {
    let (at, pages) = pretend_igd("/ctl").await;
    pages.lock().unwrap().without_address = true;
    assert_eq!(Held::new(found(at).await, &links()).await.unwrap_err(), NO_ADDRESS);
}

#[tokio::test]
async fn a_port_that_is_taken_gives_way_to_another_which_is_then_kept() {
    let (at, pages) = pretend_igd("/ctl").await;
    pages.lock().unwrap().taken.push(LINKS);
    let mut held = Held::new(found(at).await, &links()).await.unwrap();
    let first = held.mapped();
    assert_ne!(first[0].outside.port(), LINKS);
    assert_eq!(pages.lock().unwrap().mapped.keys().copied().collect::<Vec<_>>(), [first[0].outside.port()]);
    held.renew(&links()).await.unwrap();
    assert_eq!(held.mapped(), first);
}

#[tokio::test]
async fn a_router_without_leases_gives_a_mapping_without_end_which_is_taken_back_all_the_same() {
    let (at, pages) = pretend_igd("/ctl").await;
    pages.lock().unwrap().permanent = true;
    let held = Held::new(found(at).await, &links()).await.unwrap();
    assert_eq!(pages.lock().unwrap().mapped, BTreeMap::from([(LINKS, 0)]));
    held.release().await.unwrap();
    assert_eq!(pages.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn who_answers_and_is_not_the_router_is_left_alone() {
    let (at, pages) = pretend_igd("/ctl").await;
    let router = Router { address: Ipv4Addr::new(127, 9, 9, 9).into(), ..here() };
    Igd::search(router, at, Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(pages.lock().unwrap().mapped, BTreeMap::new());
}

#[tokio::test]
async fn no_url_that_a_router_names_leads_to_another_machine() {
    let victim = TcpListener::bind("127.9.9.8:0").await.unwrap();
    let (at, _) = pretend_igd(&format!("http://{}/ctl", victim.local_addr().unwrap())).await;
    Igd::search(here(), at, Duration::from_secs(1)).await.unwrap_err();
    assert!(timeout(Duration::from_millis(100), victim.accept()).await.is_err(), "it was called");
}
