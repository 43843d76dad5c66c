//! Messages that are often wanted, and the numbers of their kinds (RFC 4250, section 4.1).

use crate::wire::Message;

/// SSH_MSG_DISCONNECT
pub const DISCONNECT: u8 = 1;
/// SSH_MSG_IGNORE
pub const IGNORE: u8 = 2;
/// SSH_MSG_UNIMPLEMENTED
pub const UNIMPLEMENTED: u8 = 3;
/// SSH_MSG_DEBUG
pub const DEBUG: u8 = 4;
/// SSH_MSG_SERVICE_REQUEST
pub const SERVICE_REQUEST: u8 = 5;
/// SSH_MSG_SERVICE_ACCEPT
pub const SERVICE_ACCEPT: u8 = 6;
/// SSH_MSG_EXT_INFO
pub const EXT_INFO: u8 = 7;
/// SSH_MSG_KEXINIT
pub const KEXINIT: u8 = 20;
/// SSH_MSG_NEWKEYS
pub const NEWKEYS: u8 = 21;
/// SSH_MSG_KEX_ECDH_INIT
pub const KEX_ECDH_INIT: u8 = 30;
/// SSH_MSG_KEX_ECDH_REPLY
pub const KEX_ECDH_REPLY: u8 = 31;
/// SSH_MSG_USERAUTH_REQUEST
pub const USERAUTH_REQUEST: u8 = 50;
/// SSH_MSG_USERAUTH_FAILURE
pub const USERAUTH_FAILURE: u8 = 51;
/// SSH_MSG_USERAUTH_SUCCESS
pub const USERAUTH_SUCCESS: u8 = 52;
/// SSH_MSG_USERAUTH_BANNER
pub const USERAUTH_BANNER: u8 = 53;
/// SSH_MSG_USERAUTH_PK_OK
pub const USERAUTH_PK_OK: u8 = 60;
/// SSH_MSG_GLOBAL_REQUEST
pub const GLOBAL_REQUEST: u8 = 80;
/// SSH_MSG_REQUEST_SUCCESS
pub const REQUEST_SUCCESS: u8 = 81;
/// SSH_MSG_REQUEST_FAILURE
pub const REQUEST_FAILURE: u8 = 82;
/// SSH_MSG_CHANNEL_OPEN
pub const CHANNEL_OPEN: u8 = 90;
/// SSH_MSG_CHANNEL_OPEN_CONFIRMATION
pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
/// SSH_MSG_CHANNEL_OPEN_FAILURE
pub const CHANNEL_OPEN_FAILURE: u8 = 92;
/// SSH_MSG_CHANNEL_WINDOW_ADJUST
pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
/// SSH_MSG_CHANNEL_DATA
pub const CHANNEL_DATA: u8 = 94;
/// SSH_MSG_CHANNEL_EXTENDED_DATA
pub const CHANNEL_EXTENDED_DATA: u8 = 95;
/// SSH_MSG_CHANNEL_EOF
pub const CHANNEL_EOF: u8 = 96;
/// SSH_MSG_CHANNEL_CLOSE
pub const CHANNEL_CLOSE: u8 = 97;
/// SSH_MSG_CHANNEL_REQUEST
pub const CHANNEL_REQUEST: u8 = 98;
/// SSH_MSG_CHANNEL_SUCCESS
pub const CHANNEL_SUCCESS: u8 = 99;
/// SSH_MSG_CHANNEL_FAILURE
pub const CHANNEL_FAILURE: u8 = 100;

/// Asks for a channel of a kind, with what that kind needs in `rest` (RFC 4254, section 5.1).
pub fn open(kind: &str, id: u32, window: u32, max_packet: u32, rest: &[u8]) -> Vec<u8> {
    let asked = Message::new(CHANNEL_OPEN).string(kind).number(id).number(window).number(max_packet);
    asked.raw(rest).done()
}

/// What a channel to an address is asked for with (RFC 4254, section 7.2).
pub fn destination(host: &str, port: u32) -> Vec<u8> {
    Message::blob().string(host).number(port).string("192.0.2.1").number(1).done()
}

/// Asks for a channel to an address, with a window that is never short.
pub fn open_to(host: &str, port: u32, id: u32) -> Vec<u8> {
    open("direct-tcpip", id, 2 << 20, 32_768, &destination(host, port))
}

/// Opens a channel that was asked for: theirs is `theirs`, ours is `ours`.
pub fn confirm(theirs: u32, ours: u32, window: u32, max_packet: u32) -> Vec<u8> {
    let confirmation = Message::new(CHANNEL_OPEN_CONFIRMATION).number(theirs).number(ours);
    confirmation.number(window).number(max_packet).done()
}

/// Refuses a channel that was asked for.
pub fn refuse(theirs: u32, why: &str) -> Vec<u8> {
    Message::new(CHANNEL_OPEN_FAILURE).number(theirs).number(1).string(why).string("").done()
}

/// A message that is about a channel and says no more than its number: EOF and CLOSE.
pub fn about(kind: u8, channel: u32) -> Vec<u8> {
    Message::new(kind).number(channel).done()
}

/// Bytes for a channel.
pub fn data(channel: u32, bytes: &[u8]) -> Vec<u8> {
    Message::new(CHANNEL_DATA).number(channel).string(bytes).done()
}

/// Bytes for a channel, of the kind that standard error is.
pub fn extended_data(channel: u32, bytes: &[u8]) -> Vec<u8> {
    Message::new(CHANNEL_EXTENDED_DATA).number(channel).number(1).string(bytes).done()
}

/// Lets the other end send so many bytes more.
pub fn adjust(channel: u32, by: u32) -> Vec<u8> {
    Message::new(CHANNEL_WINDOW_ADJUST).number(channel).number(by).done()
}

/// Asks something of a channel, and for an answer.
pub fn request(channel: u32, kind: &str, rest: &[u8]) -> Vec<u8> {
    Message::new(CHANNEL_REQUEST).number(channel).string(kind).boolean(true).raw(rest).done()
}

/// Asks something of the whole session, and for an answer.
pub fn global_request(kind: &str, rest: &[u8]) -> Vec<u8> {
    Message::new(GLOBAL_REQUEST).string(kind).boolean(true).raw(rest).done()
}

/// Asks for a service (RFC 4253, section 10).
pub fn service_request(name: &str) -> Vec<u8> {
    Message::new(SERVICE_REQUEST).string(name).done()
}

/// A login by a method, with what that method needs in `rest` (RFC 4252, section 5).
pub fn userauth(user: &str, service: &str, method: &str, rest: &[u8]) -> Vec<u8> {
    Message::new(USERAUTH_REQUEST).string(user).string(service).string(method).raw(rest).done()
}

/// Something for the other end to ignore.
pub fn ignore(bytes: usize) -> Vec<u8> {
    Message::new(IGNORE).string(vec![0; bytes]).done()
}

/// Ends the session, with a text.
pub fn disconnect(text: &str) -> Vec<u8> {
    Message::new(DISCONNECT).number(11).string(text).string("").done()
}
