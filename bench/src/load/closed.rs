//! Connections that each ask again as soon as they have their answer.
//!
//! With one connection this times a single request; with many it finds how much one core can do. It
//! says nothing about latency under load: a slow gateway is asked less often. That is [`super::open`].

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::task::JoinSet;

use super::{
    Args, Sample, Seen, Shape,
    client::{Client, Tokens},
    cpu,
};
use crate::{Failure, clock};

/// When a connection stops asking.
#[derive(Clone, Copy, Debug)]
enum Until {
    Asked(usize),
    Time(u64),
}

/// Requests before the measured ones where their number is what bounds them.
const WARM: usize = 300;

/// An unreachable gateway is not asked for ever.
const MOST_ERRORS: u64 = 1000;

/// Asks until the window is over.
pub(super) async fn run(args: &Args) -> Result<Sample, Failure> {
    let request: Rc<[u8]> = args.request().into();
    let mut clients = Vec::new();
    for _ in 0..args.connections {
        clients.push(Client::open(args.to).await?);
    }
    let (warm, measured) = args.windows();
    let until = |window: Duration, count| {
        if args.count > 0 {
            Until::Asked(count)
        } else {
            Until::Time(clock::now() + u64::try_from(window.as_nanos()).unwrap_or(u64::MAX))
        }
    };
    let clients = phase(args, clients, &request, until(warm, WARM)).await?.0;
    let (cpu_before, begun) = (cpu(args), clock::now());
    let (_, seen) = phase(args, clients, &request, until(measured, args.count)).await?;
    let (took, ran) = (clock::now() - begun, cpu(args) - cpu_before);
    Ok(seen.sample(ran, took))
}

async fn phase(
    args: &Args,
    clients: Vec<Client>,
    request: &Rc<[u8]>,
    until: Until,
) -> Result<(Vec<Client>, Seen), Failure> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let mut asking = JoinSet::new();
    for mut client in clients {
        let (seen, request, args) = (Rc::clone(&seen), Rc::clone(request), args.clone());
        asking.spawn_local(async move {
            let mut asked = 0;
            loop {
                let over = match until {
                    Until::Asked(count) => asked >= count,
                    Until::Time(end) => clock::now() >= end,
                };
                if over || seen.borrow().errors > MOST_ERRORS {
                    return Ok::<_, std::io::Error>(client);
                }
                asked += 1;
                if let Err(error) = one(&args, &mut client, &request, &seen).await {
                    seen.borrow_mut().fail(args.to, &error);
                    client = Client::open(args.to).await?;
                }
            }
        });
    }
    let mut clients = Vec::new();
    while let Some(client) = asking.join_next().await {
        clients.push(client??);
    }
    Ok((clients, seen.take()))
}

/// Asks once, and times the answer or its first token.
async fn one(
    args: &Args,
    client: &mut Client,
    request: &[u8],
    seen: &RefCell<Seen>,
) -> std::io::Result<()> {
    let begun = clock::now();
    if args.shape == Shape::Whole {
        client.whole(request).await?;
        let mut seen = seen.borrow_mut();
        seen.times.push(clock::now() - begun);
        seen.done += 1;
        return Ok(());
    }
    let mut first = None;
    let see = |tokens: Tokens| {
        first.get_or_insert(tokens.seen);
    };
    client.stream(request, see).await?;
    let first = first.ok_or_else(|| std::io::Error::other("a stream without a token"))?;
    let mut seen = seen.borrow_mut();
    seen.times.push(first - begun);
    seen.done += 1;
    Ok(())
}
