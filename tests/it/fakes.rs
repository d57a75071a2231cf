//! Receivers that misbehave on purpose: an HTTP server and a mail server, each on a port of its own.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What an HTTP fake does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Http {
    /// Status line and headers, and a body.
    Answer(&'static str, &'static str),
    /// Takes the request and says nothing.
    Hang,
    /// Closes the connection.
    Reset,
}

/// Serves one behaviour for ever; gives its base URL.
pub(crate) async fn http(behaviour: Http) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, behaviour.clone()));
        }
    });
    format!("http://{address}/services/T0/B0/secret-token")
}

async fn answer(mut stream: TcpStream, behaviour: Http) {
    let mut bytes = vec![0u8; 65_536];
    let _ = stream.read(&mut bytes).await;
    match behaviour {
        Http::Answer(head, body) => {
            let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Http::Hang => std::future::pending().await,
        Http::Reset => {}
    }
}

/// What was mailed: recipient and source.
pub(crate) type Mails = Arc<Mutex<Vec<(String, String)>>>;

/// A mail server. A recipient that begins with `later` is told 451, with `nobody` 550; all others are taken.
pub(crate) async fn smtp() -> (String, Mails) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mails = Mails::default();
    let kept = Arc::clone(&mails);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, Arc::clone(&kept)));
        }
    });
    (address, mails)
}

async fn converse(stream: TcpStream, mails: Mails) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let _ = write.write_all(b"220 fake\r\n").await;
    let (mut recipient, mut source) = (String::new(), None::<String>);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(text) = &mut source {
            if line == "." {
                mails.lock().unwrap().push((recipient.clone(), source.take().unwrap_or_default()));
                let _ = write.write_all(b"250 taken\r\n").await;
            } else {
                text.push_str(&line);
                text.push('\n');
            }
            continue;
        }
        let upper = line.to_uppercase();
        let reply: &[u8] = if upper.starts_with("RCPT TO:") {
            recipient = line[8..].trim_matches(['<', '>', ' ']).to_string();
            match recipient.as_str() {
                r if r.starts_with("later") => b"451 4.7.1 greylisted\r\n",
                r if r.starts_with("nobody") => b"550 5.1.1 no such user\r\n",
                _ => b"250 ok\r\n",
            }
        } else if upper.starts_with("DATA") {
            source = Some(String::new());
            b"354 go on\r\n"
        } else if upper.starts_with("QUIT") {
            b"221 bye\r\n"
        } else {
            b"250 ok\r\n"
        };
        let _ = write.write_all(reply).await;
    }
}
