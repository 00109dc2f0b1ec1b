//! Streams that begin at a fixed rate, whatever becomes of those before them.
//!
//! The schedule is fixed and no arrival is left out, so a gateway that stalls is charged for all who
//! would have come meanwhile. A stream that lacks a token, or has one out of order, is an error.

use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Args, Sample, Seen,
    client::{Client, Tokens},
    cpu,
};
use crate::{Failure, clock};

/// How late a timer may be before the lateness is the load's own fault: tokio's timers have a
/// millisecond's grain.
const GRAIN: Duration = Duration::from_millis(2);

/// What all streams share.
struct Shared {
    to: SocketAddr,
    request: Vec<u8>,
    tokens: usize,
    idle: RefCell<Vec<Client>>,
    seen: RefCell<Seen>,
}

/// Begins streams for the window and waits for all of them to end.
pub(super) async fn run(args: &Args) -> Result<Sample, Failure> {
    let shared = Rc::new(Shared {
        to: args.to,
        request: args.request(),
        tokens: args.tokens,
        idle: RefCell::default(),
        seen: RefCell::default(),
    });
    let (warm, measured) = args.windows();
    arrivals(&shared, args.rate, warm).await?;
    shared.seen.take();
    let (cpu_before, begun) = (cpu(args), clock::now());
    arrivals(&shared, args.rate, measured).await?;
    let (took, ran) = (clock::now() - begun, cpu(args) - cpu_before);
    Ok(shared.seen.take().sample(ran, took))
}

async fn arrivals(shared: &Rc<Shared>, rate: u32, window: Duration) -> Result<(), Failure> {
    let between = Duration::from_secs(1) / rate.max(1);
    let count = u32::try_from(window.as_nanos() / between.as_nanos())?;
    let begin = Instant::now();
    let mut streams = JoinSet::new();
    for at in 0..count {
        let due = begin + between * at;
        sleep_until(due).await;
        let late = due.elapsed();
        let late = if late > GRAIN { late } else { Duration::ZERO };
        let shared = Rc::clone(shared);
        streams.spawn_local(async move {
            if let Err(error) = one(&shared, late).await {
                shared.seen.borrow_mut().fail(shared.to, &error);
            }
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended?;
    }
    Ok(())
}

async fn one(shared: &Shared, late: Duration) -> std::io::Result<()> {
    let begun = clock::now().saturating_sub(u64::try_from(late.as_nanos()).unwrap_or(0));
    let kept = shared.idle.borrow_mut().pop();
    let mut client = match kept {
        Some(client) => client,
        None => Client::open(shared.to).await?,
    };
    let (mut count, mut last, mut in_order) = (0, 0, true);
    let see = |tokens: Tokens| {
        let mut seen = shared.seen.borrow_mut();
        if count == 0 {
            seen.times.push(tokens.seen.saturating_sub(begun));
        }
        count += tokens.sent.len();
        seen.coalesced += tokens.sent.len() as u64 - 1;
        for sent in tokens.sent {
            in_order &= sent >= last;
            last = sent;
            seen.delays.push(tokens.seen.saturating_sub(sent));
        }
    };
    client.stream(&shared.request, see).await?;
    if count != shared.tokens || !in_order {
        let told = format!("{count} of {} tokens, in order: {in_order}", shared.tokens);
        return Err(std::io::Error::other(told));
    }
    let mut seen = shared.seen.borrow_mut();
    seen.tokens += count as u64;
    seen.done += 1;
    shared.idle.borrow_mut().push(client);
    Ok(())
}
