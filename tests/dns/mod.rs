//! A DNS server on loopback that says what a test wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// What stands under each name, written with its last dot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    /// Each a TXT record, cut into strings as given.
    pub(crate) texts: BTreeMap<String, Vec<Vec<String>>>,
    /// A and AAAA records.
    pub(crate) addresses: BTreeMap<String, Vec<IpAddr>>,
}

/// A running server. It ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Answers out of `zone`; without one it is silent.
    pub(crate) async fn start(zone: Option<Zone>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = asked.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4_096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let question = &query.queries[0];
                heard.lock().unwrap().push(format!("{} {}", question.query_type(), question.name()).to_lowercase());
                if let Some(zone) = &zone {
                    let answer = zone.answer(&query);
                    let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
                }
            }
        });
        Self { address, asked, task }
    }

    /// What it was asked, such as `txt seeds.test.`, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Zone {
    fn answer(&self, query: &Message) -> Message {
        let question = query.queries[0].clone();
        let name = question.name().to_string().to_lowercase();
        let known = self.texts.contains_key(&name) || self.addresses.contains_key(&name);
        let data: Vec<RData> = match question.query_type() {
            RecordType::TXT => {
                self.texts.get(&name).into_iter().flatten().cloned().map(TXT::new).map(RData::TXT).collect()
            }
            kind => {
                let ips = self.addresses.get(&name).into_iter().flatten();
                ips.map(|ip| RData::from(*ip)).filter(|data| data.record_type() == kind).collect()
            }
        };
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.metadata.response_code = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
        answer.add_answers(data.into_iter().map(|data| Record::from_rdata(question.name().clone(), 60, data)));
        answer.add_query(question);
        answer
    }
}
