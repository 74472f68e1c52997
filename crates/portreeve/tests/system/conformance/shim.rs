//! A listener on loopback that gives every request a token, because the suite cannot.
//!
//! It names the gateway where a request names the listener, and changes nothing else, so that the suite's wrong
//! hosts, headers and bodies arrive as they are.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// The listener; it ends with this value
pub(super) struct Shim {
    /// Where it listens
    pub(super) address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Shim {
    pub(super) fn start(gateway: SocketAddr, token: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (token, ended) = (token.to_owned(), Arc::clone(&over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), token) = (stream, token.clone()) else { continue };
                thread::spawn(move || drop(carry(stream, address, gateway, &token)));
            }
        });
        Self { address, over }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// Carries one request and its answer; the next one takes another connection
fn carry(mut client: TcpStream, own: SocketAddr, gateway: SocketAddr, token: &str) -> io::Result<()> {
    let mut head = Vec::new();
    let end = loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut some = [0; 4096];
        let length = client.read(&mut some)?;
        if length == 0 {
            return Ok(());
        }
        head.extend_from_slice(&some[..length]);
    };
    let body = head.split_off(end + 4);
    // Header values need not be text: a byte is a character here, and back.
    let head: String = head[..end].iter().map(|byte| char::from(*byte)).collect();
    let mut lines = head.split("\r\n");
    let mut sent = format!("{}\r\n", lines.next().unwrap_or_default());
    for line in lines {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        match name.as_str() {
            "connection" | "keep-alive" => {}
            "host" | "origin" => {
                sent.push_str(&format!("{}\r\n", line.replace(&own.to_string(), &gateway.to_string())))
            }
            _ => sent.push_str(&format!("{line}\r\n")),
        }
    }
    sent.push_str(&format!("connection: close\r\nauthorization: Bearer {token}\r\n\r\n"));
    let sent: Vec<u8> = sent.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect();

    let mut server = TcpStream::connect(gateway)?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    server.write_all(&sent)?;
    server.write_all(&body)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let forth = thread::spawn(move || {
        let copied = copy(&mut from, &mut to);
        // A client that has left is told to the gateway by the same.
        drop(to.shutdown(Shutdown::Both));
        copied
    });
    let back = copy(&mut server, &mut client);
    drop(client.shutdown(Shutdown::Both));
    drop(forth.join());
    back
}

fn copy(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut some = [0; 16 * 1024];
    loop {
        let length = from.read(&mut some)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&some[..length])?;
    }
}
