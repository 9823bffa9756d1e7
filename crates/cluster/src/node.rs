//! The stream to one guilds node, as long as that node is to be called.

use cluster_core::From;
use cluster_wire::envelope::{FromCaller, Hello, MESSAGE_BYTES_MAX, Said};
use cluster_wire::record::NodeRecord;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::dial::{Redial, dial};
use crate::limits::{ATTEMPTS_IN_SILENCE, HELLO_WITHIN, STREAM_QUEUE};
use crate::services::guilds::guilds_client::GuildsClient;
use crate::tls::Credentials;

/// What comes of a node.
pub enum News {
    /// It answers, and takes calls here.
    Up(mpsc::Sender<FromCaller>),
    Said(Said),
    /// Whatever it had not answered will never be.
    Down,
}

/// Runs until it is aborted or nobody listens any more.
pub async fn keep(record: NodeRecord, credentials: Credentials, me: Hello, news: mpsc::Sender<(From, News)>) {
    let (mut redial, mut attempts) = (Redial::default(), 0_u32);
    for stream in 0_u64.. {
        let from = (record.name.clone(), stream);
        let outcome = attend(&record, &credentials, &me, &from, &news).await;
        match outcome {
            Ok(()) => return,
            Err(Interrupted { was_up, why }) => {
                if was_up {
                    tracing::warn!(node = record.name, why, "a guilds node is lost");
                    redial.reset();
                    attempts = 0;
                } else {
                    attempts += 1;
                    // A node that is just starting is no news; one with another key, or behind a wall, is.
                    if attempts == ATTEMPTS_IN_SILENCE {
                        tracing::warn!(
                            node = record.name,
                            address = record.address,
                            why,
                            "a guilds node cannot be reached"
                        );
                    } else {
                        tracing::debug!(node = record.name, why, "a guilds node cannot be reached");
                    }
                }
                if was_up && news.send((from, News::Down)).await.is_err() {
                    return;
                }
            }
        }
        redial.pause().await;
    }
}

struct Interrupted {
    was_up: bool,
    why: String,
}

/// One stream. Ok when nobody listens any more.
async fn attend(
    record: &NodeRecord,
    credentials: &Credentials,
    me: &Hello,
    from: &From,
    news: &mpsc::Sender<(From, News)>,
) -> Result<(), Interrupted> {
    let not_up = |why: String| Interrupted { was_up: false, why };
    let channel = dial(&record.address, credentials).await.map_err(|error| not_up(error.to_string()))?;
    let mut client = GuildsClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let (calls, waiting) = mpsc::channel(STREAM_QUEUE);
    let _ = calls.try_send(FromCaller::hello(me.clone()));
    let streaming = client.serve(ReceiverStream::new(waiting));
    let opened = tokio::time::timeout(HELLO_WITHIN, streaming).await;
    let opened = opened.map_err(|_| not_up("no answer in time".to_owned()))?;
    let mut incoming = opened.map_err(|status| not_up(status.to_string()))?.into_inner();
    let first = tokio::time::timeout(HELLO_WITHIN, incoming.message()).await;
    let first = first.map_err(|_| not_up("no hello came".to_owned()))?;
    let first = first.map_err(|status| not_up(status.to_string()))?;
    let Some(Ok(Said::Hello(hello))) = first.map(cluster_wire::envelope::ToCaller::read) else {
        return Err(not_up("something else came before a hello".to_owned()));
    };
    if !hello.is_understood() {
        return Err(not_up(hello.strangeness()));
    }
    if hello.name != record.name {
        return Err(not_up(format!("{} answered at its address", hello.name)));
    }
    tracing::info!(node = record.name, "a guilds node is connected");
    if news.send((from.clone(), News::Up(calls))).await.is_err() {
        return Ok(());
    }
    loop {
        let interrupted = |why: String| Interrupted { was_up: true, why };
        let message = incoming.message().await.map_err(|status| interrupted(status.message().to_owned()))?;
        let message = message.ok_or_else(|| interrupted("it ended the stream".to_owned()))?;
        match message.read() {
            Ok(said) => {
                if news.send((from.clone(), News::Said(said))).await.is_err() {
                    return Ok(());
                }
            }
            Err(error) => tracing::warn!(node = record.name, %error, "a message of another version"),
        }
    }
}
