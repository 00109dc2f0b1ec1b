//! Many streams that are open and silent: what a gateway holds in memory for each.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{
    io::AsyncReadExt,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Args, Sample, client::Client};
use crate::{Failure, bodies::Pace, note};

/// A token each 4 seconds, for longer than anybody measures.
pub(super) const PACE: Pace = Pace { tokens: 1000, gap: 4_000_000 };

/// Streams that are begun together, and the pause after them: a burst of all would overrun the
/// listeners' queues.
const STEP: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// How long all of them may take to begin. The first token comes after one gap.
const MOST: Duration = Duration::from_mins(1);

/// Opens the streams, says so on stdout, and holds them until stdin ends: by then whoever started us
/// has read the gateway's memory.
pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let request: Rc<[u8]> = args.request().into();
    let begun = Rc::new(Cell::new(0));
    let mut streams = JoinSet::new();
    for at in 0..args.connections {
        let (to, request, begun) = (args.to, Rc::clone(&request), Rc::clone(&begun));
        streams.spawn_local(async move {
            let mut first = true;
            let see = |_| {
                if std::mem::take(&mut first) {
                    begun.set(begun.get() + 1);
                }
            };
            match Client::open(to).await {
                Ok(mut client) => client.stream(&request, see).await,
                Err(error) => Err(error),
            }
        });
        if at % STEP == STEP - 1 {
            sleep(PAUSE).await;
        }
    }
    let all = async {
        while begun.get() < args.connections && streams.len() == args.connections {
            tokio::select! {
                () = sleep(PAUSE) => {}
                ended = streams.join_next() => {
                    if let Some(Ok(Err(error))) = ended {
                        note(&format!("  {}: {error}", args.to));
                    }
                }
            }
        }
    };
    let _late = timeout(MOST, all).await;
    let done = u64::try_from(begun.get())?;
    let sample = Sample { done, errors: args.connections as u64 - done, ..Sample::default() };
    super::tell(&sample)?;
    until_stdin_ends().await?;
    Ok(())
}

async fn until_stdin_ends() -> std::io::Result<()> {
    let mut stdin = tokio::io::stdin();
    let mut nothing = [0; 64];
    while stdin.read(&mut nothing).await? > 0 {}
    Ok(())
}
