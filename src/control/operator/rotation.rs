//! That a key which was taken away does not stay behind in the Secrets of the table.

use super::{tests::*, *};
use crate::{
    control::fake::Fake,
    table::{Slot, head::DATA_KEY},
};

/// The keys that each base holds.
fn bases(fake: &Fake) -> Vec<Option<String>> {
    let key = |slot: &Slot| {
        let (contents, _) = Contents::decode(&stored(fake, slot.secret(), DATA_KEY)?).unwrap();
        let table = contents.table(0);
        let target = table.routes().first()?.targets.first()?;
        let header = target.credential.keys.first()?.secret.header("")?;
        Some(header.to_str().ok()?.to_owned())
    };
    Slot::ALL.iter().map(key).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_rotated_is_in_no_secret_after_some_minutes_restarts_or_not() {
    let two = Some("two".to_owned());
    for restarts in [false, true] {
        let fake = cluster();
        route(&fake, "chat", &["chat"]);
        let mut process = start(&fake, "a", 1);
        until("ready", || process.readiness.missing().is_empty()).await;
        secret(&fake, "two");
        until("rotated", || key(&fake) == two).await;
        assert_eq!(bases(&fake), [Some("one".to_owned()), None], "the change is in the head");
        until("folded", || bases(&fake)[1] == two).await;
        assert_eq!(bases(&fake)[0].as_deref(), Some("one"), "mounted copies may name it");
        if restarts {
            process.stop().await;
            process = start(&fake, "b", 1);
            until("ready", || process.readiness.missing().is_empty()).await;
        }
        tokio::time::sleep(Duration::from_mins(3)).await;
        assert_eq!(bases(&fake), [two.clone(), two.clone()]);
        assert_eq!((served(&fake), key(&fake)), (vec!["chat".to_owned()], two.clone()));
        let writes = || fake.count(is_write);
        let wrote = writes();
        tokio::time::sleep(Duration::from_mins(20)).await;
        assert_eq!(writes(), wrote, "and that was all");
        process.stop().await;
    }
}
