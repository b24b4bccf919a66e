//! What a server on loopback answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The longest that an answer may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What is at this path of a server on loopback.
///
/// # Errors
/// If it does not answer, or not with 200.
pub async fn get(port: u16, path: &str) -> Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(LIMIT, asking).await;
    let answer = answer.with_context(|| format!("{path} at port {port} does not answer"))??;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.0 200") => Ok(body.to_owned()),
        _ => bail!("{path} at port {port} answers with: {answer}"),
    }
}
