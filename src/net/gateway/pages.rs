//! The demo and the client library, built into the program: a host is one file.

use axum::Router;
use axum::http::header;
use axum::routing::get;

/// What a page of ours may do: load its own files, and talk to any host.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss: http: https:; img-src 'self' data: blob:; \
                      media-src 'self' blob: mediastream:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; \
                      base-uri 'none'; form-action 'none'";

/// The page with clients of other systems fetches them from where their authors' packages are.
const CLIENTS_POLICY: &str = "default-src 'self'; script-src 'self' https://esm.sh; connect-src 'self' ws: wss: https://esm.sh; \
                              img-src 'self' data: blob:; media-src 'self' blob: mediastream:; style-src 'self'; \
                              frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

const CLIENTS: &str = "/clients";

/// Path, type and content of each file.
const FILES: [(&str, &str, &str); 25] = [
    ("/", HTML, include_str!("../../../web/demo/index.html")),
    (CLIENTS, HTML, include_str!("../../../web/demo/clients.html")),
    ("/clients.js", SCRIPT, include_str!("../../../web/demo/clients.js")),
    ("/demo.css", STYLE, include_str!("../../../web/demo/demo.css")),
    ("/demo.js", SCRIPT, include_str!("../../../web/demo/demo.js")),
    ("/lamp.js", SCRIPT, include_str!("../../../web/demo/lamp.js")),
    ("/lamp.svg", PICTURE, include_str!("../../../web/demo/lamp.svg")),
    ("/aldis.js", SCRIPT, include_str!("../../../web/aldis.js")),
    ("/aldis/answers.js", SCRIPT, include_str!("../../../web/aldis/answers.js")),
    ("/aldis/bytes.js", SCRIPT, include_str!("../../../web/aldis/bytes.js")),
    ("/aldis/client.js", SCRIPT, include_str!("../../../web/aldis/client.js")),
    ("/aldis/connection.js", SCRIPT, include_str!("../../../web/aldis/connection.js")),
    ("/aldis/connections.js", SCRIPT, include_str!("../../../web/aldis/connections.js")),
    ("/aldis/events.js", SCRIPT, include_str!("../../../web/aldis/events.js")),
    ("/aldis/gateways.js", SCRIPT, include_str!("../../../web/aldis/gateways.js")),
    ("/aldis/hpke.js", SCRIPT, include_str!("../../../web/aldis/hpke.js")),
    ("/aldis/identity.js", SCRIPT, include_str!("../../../web/aldis/identity.js")),
    ("/aldis/limits.js", SCRIPT, include_str!("../../../web/aldis/limits.js")),
    ("/aldis/requests.js", SCRIPT, include_str!("../../../web/aldis/requests.js")),
    ("/aldis/sealing.js", SCRIPT, include_str!("../../../web/aldis/sealing.js")),
    ("/aldis/signals.js", SCRIPT, include_str!("../../../web/aldis/signals.js")),
    ("/aldis/swarm.js", SCRIPT, include_str!("../../../web/aldis/swarm.js")),
    ("/aldis/timers.js", SCRIPT, include_str!("../../../web/aldis/timers.js")),
    ("/aldis/topics.js", SCRIPT, include_str!("../../../web/aldis/topics.js")),
    ("/aldis/types.js", SCRIPT, include_str!("../../../web/aldis/types.js")),
];

pub(super) fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, if path == CLIENTS { CLIENTS_POLICY } else { POLICY }),
            // The program may be a newer one at any time.
            (header::CACHE_CONTROL, "no-cache"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        // Pages of any origin may load the library.
        let shared = (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        router.route(path, get(async move || ([shared], headers, content)))
    })
}
