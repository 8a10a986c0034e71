//! STUN Binding (RFC 8489 §6, §14.2): who asks is told at which address it is seen. Nothing else is answered.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use stun_types::attribute::XorMappedAddress;
use stun_types::message::{
    BINDING, Message, MessageClass, MessageHeader, MessageType, MessageWrite, MessageWriteExt, MessageWriteVec,
    TransactionId,
};
use stun_types::prelude::Attribute as _;
use tracing::Dispatch;
use tracing::dispatcher::with_default;

use super::limits::Limits;

/// Longer requests are not read: RFC 8489 §6.1 asks clients to stay below 548 bytes, and browsers need 20 to 60.
pub(super) const STUN_REQUEST_BYTES_MAX: usize = 548;
/// Our answer over IPv6; over IPv4 it is 32.
pub(super) const STUN_ANSWER_BYTES_MAX: usize = 44;

/// Answers Binding requests.
#[derive(Debug)]
pub(super) struct Server {
    started: Instant,
    limits: Mutex<Limits>,
}

/// What a datagram gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// These bytes, to its sender.
    Yes(Vec<u8>),
    /// Nothing: too many asked.
    TooMany,
    /// Nothing: it is no Binding request that we understand.
    NotStun,
}

impl Default for Server {
    fn default() -> Self {
        Self { started: Instant::now(), limits: Mutex::default() }
    }
}

impl Server {
    /// What `datagram`, which came from `from`, gets.
    pub(super) fn answer(&self, datagram: &[u8], from: SocketAddr) -> Answer {
        let Some(transaction) = binding_request(datagram) else { return Answer::NotStun };
        let allowed = {
            let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
            limits.allow(self.started.elapsed(), from.ip())
        };
        if !allowed {
            return Answer::TooMany;
        }
        match success(transaction, from) {
            Some(answer) => Answer::Yes(answer),
            None => Answer::NotStun,
        }
    }
}

/// A new Binding request.
pub(super) fn request(transaction: TransactionId) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    Message::builder(kind, transaction, MessageWriteVec::with_capacity(MessageHeader::LENGTH)).finish()
}

/// The address in an answer to the request with this transaction; `None` if it is none.
pub(super) fn mapped_address(datagram: &[u8], transaction: TransactionId) -> Option<SocketAddr> {
    let message = whole(datagram, MessageClass::Success)?;
    let mapped = message.attribute::<XorMappedAddress>().ok()?;
    (message.transaction_id() == transaction).then(|| mapped.addr(transaction))
}

/// The transaction of a Binding request in which we have to understand nothing more: what a client demands beyond
/// (another port to be answered from, a password) we do not have, and an error would only be a longer answer.
fn binding_request(datagram: &[u8]) -> Option<TransactionId> {
    if datagram.len() > STUN_REQUEST_BYTES_MAX {
        return None;
    }
    let message = whole(datagram, MessageClass::Request)?;
    let demands = message.iter_attributes().any(|(_, attribute)| attribute.get_type().comprehension_required());
    (!demands).then(|| message.transaction_id())
}

/// A Binding message of this class with the magic cookie and of exactly the length that it states.
fn whole(datagram: &[u8], class: MessageClass) -> Option<Message<'_>> {
    let header = MessageHeader::from_bytes(datagram).ok()?;
    if header.get_type() != MessageType::from_class_method(class, BINDING)
        || MessageHeader::LENGTH + usize::from(header.data_length()) != datagram.len()
    {
        return None;
    }
    // The library warns of each message that is not sound. Strangers do not write our log.
    with_default(&Dispatch::none(), || Message::from_bytes(datagram)).ok()
}

fn success(transaction: TransactionId, to: SocketAddr) -> Option<Vec<u8>> {
    let kind = MessageType::from_class_method(MessageClass::Success, BINDING);
    let mut message = Message::builder(kind, transaction, MessageWriteVec::with_capacity(STUN_ANSWER_BYTES_MAX));
    // An IPv4 address as such, also where the socket shows it inside IPv6: that is where the client is.
    let seen = SocketAddr::new(to.ip().to_canonical(), to.port());
    message.add_attribute(&XorMappedAddress::new(seen, transaction)).ok()?;
    Some(message.finish())
}
