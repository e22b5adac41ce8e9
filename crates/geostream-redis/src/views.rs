//! What each node sees, for the others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fred::types::Value;
use fred::types::scripts::Script;
use geostream_api as api;
use geostream_domain::{
    ClockReading, Load, LoadError, LoadShare, MOST_NODES, NameError, NodeId, NodeSummary, NodeView,
    RegionId, Removal, Sight, Timestamp, VIEW_HOLDS, Vote,
};
use geostream_ports::{Clock as _, Exchanged, Heard, SharedViews, SystemClock, Unavailable};
use thiserror::Error;

use crate::connection::{Ear, Redis};
use crate::error::RedisError;

/// What nodes tell each other, in Redis.
///
/// Who has said something when, by the server's clock, what number that has, what it is, how sure
/// the node is of the regions that it sees down, and what it says of itself: five keys with a field
/// for each node. Nodes of earlier versions read and write the first three or four, so their votes
/// come without proof, and they say nothing of themselves. A view is
/// written and read once; from then on its number says that it still holds. On the channel nothing
/// is said but that it is time to look, so a message that is late, lost or repeated does no harm.
#[derive(Debug)]
pub struct RedisViews {
    redis: Redis,
    node: NodeId,
    ear: Ear,
    keys: [String; 5],
    channel: String,
    known: Mutex<Known>,
    /// The number of what this node has said last.
    number: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// What the server has of this node.
    said: Option<Said>,
    /// What others have said, by its number.
    heard: BTreeMap<NodeId, (String, Said)>,
}

/// What a node says of the regions and of itself.
#[derive(Clone, Debug, PartialEq)]
struct Said {
    view: Arc<NodeView>,
    /// `None` from a node of an earlier version.
    summary: Option<Arc<NodeSummary>>,
}

/// The most bytes of a view: 20,000 regions have less.
const MOST_BYTES: usize = 4 << 20;

/// The most bytes of a summary, its number included.
const MOST_SUMMARY_BYTES: usize = 8 << 10;

/// The most regions of a view.
const MOST_REGIONS: usize = 20_000;

static EXCHANGE: LazyLock<Script> =
    LazyLock::new(|| Script::from_lua(include_str!("lua/exchange.lua")));

impl RedisViews {
    /// Speaks as this node, and listens from now on.
    ///
    /// # Errors
    ///
    /// If there is something that no Redis could do.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(redis: Redis, node: NodeId) -> Result<Self, RedisError> {
        // In a cluster, what is in braces decides where a key is: all five are at one place. The
        // number is that of the format.
        let keys = ["said", "numbers", "bodies", "removals", "summaries"]
            .map(|key| redis.name(&format!("{{views1}}:{key}")));
        let ear = redis.hear("views1")?;
        let channel = redis.name("views1");
        let (known, number) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { redis, node, ear, keys, channel, known, number })
    }

    /// Asks the server; `None` if it does not know what this node says without the words.
    async fn ask(&self, words: Words, is_news: bool) -> Result<Option<Answer>, RedisError> {
        let channel = if is_news { &*self.channel } else { "" };
        let number = self.number.load(Ordering::Relaxed);
        let mut arguments: Vec<Value> = vec![
            self.node.as_str().into(),
            number.to_string().into(),
            words.view.into(),
            channel.into(),
            VIEW_HOLDS.as_millis().to_string().into(),
            MOST_NODES.to_string().into(),
            MOST_BYTES.to_string().into(),
            words.removals.into(),
            words.summary.into(),
            MOST_SUMMARY_BYTES.to_string().into(),
        ];
        for (node, (number, _)) in &self.known().heard {
            arguments.extend([node.as_str().into(), number.clone().into()]);
        }
        let asked = SystemClock.now();
        let asked_wall = SystemClock.wall();
        let answer = self.redis.run(&EXCHANGE, self.keys.to_vec(), arguments).await?;
        let took = SystemClock.now().saturating_duration_since(asked);
        if answer.is_null() {
            return Ok(None);
        }
        let nonsense = || RedisError::nonsense("views", "they are no time and list");
        let parts: Result<[Value; 2], _> = answer.into_array().try_into();
        let [time, nodes] = parts.map_err(|_| nonsense())?;
        let told = time.as_u64().ok_or_else(nonsense)?;
        if !nodes.is_array() {
            return Err(nonsense());
        }
        let told = Timestamp::from_unix_millis(told);
        let clock = ClockReading::new(asked, asked_wall, took, told);
        Ok(Some(Answer { nodes: nodes.into_array(), clock }))
    }

    /// Reads what others say, and keeps it in mind.
    fn hear(&self, nodes: Vec<Value>) -> Exchanged {
        let mut known = self.known();
        let before = std::mem::take(&mut known.heard);
        let mut exchanged = Exchanged::default();
        for node in nodes {
            match read_node(node, &before) {
                Ok((number, heard)) => {
                    let Heard { view, summary, .. } = heard.clone();
                    known.heard.insert(heard.node.clone(), (number, Said { view, summary }));
                    exchanged.heard.push(heard);
                }
                Err(error) => {
                    exchanged.refused += 1;
                    tracing::debug!(%error, "what a node says is not understood");
                }
            }
        }
        exchanged.heard.sort_by(|one, two| one.node.cmp(&two.node));
        exchanged
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node says, as it is kept in Redis; empty where its number stands for it.
#[derive(Debug, Default)]
struct Words {
    view: String,
    removals: String,
    summary: String,
}

/// What the server has answered.
struct Answer {
    nodes: Vec<Value>,
    clock: ClockReading,
}

impl SharedViews for RedisViews {
    async fn exchange(
        &self,
        view: &Arc<NodeView>,
        summary: &Arc<NodeSummary>,
    ) -> Result<Exchanged, Unavailable> {
        let said = Said { view: Arc::clone(view), summary: Some(Arc::clone(summary)) };
        // Until there is an answer, it is not known what the server has.
        let before = self.known().said.take();
        let mut answer = None;
        if before.as_ref() == Some(&said) {
            answer = self.ask(Words::default(), false).await?;
        }
        if answer.is_none() {
            let is_news = before.is_none_or(|before| !before.view.votes().eq(view.votes()));
            self.number.fetch_add(1, Ordering::Relaxed);
            let words = Words {
                view: write(view),
                removals: write_removals(view),
                summary: write_summary(summary),
            };
            answer = self.ask(words, is_news).await?;
        }
        self.known().said = Some(said);
        let Some(Answer { nodes, clock }) = answer else { return Ok(Exchanged::default()) };
        Ok(Exchanged { clock: Some(clock), ..self.hear(nodes) })
    }

    async fn news(&self) {
        self.ear.next().await;
    }
}

/// Whether it is down, if the node votes on it; its own clients, displaced ones, and those away; and
/// what it reports.
type RegionWords = (Option<bool>, f64, f64, f64, Option<f64>);

fn write(view: &NodeView) -> String {
    let words = view.regions.iter().map(|(region, Sight { vote, load })| {
        let is_down = vote.map(|vote| vote != Vote::Well);
        let reported = load.reported.map(Load::units);
        let [own, displaced, away] = [load.own, load.displaced, load.away].map(Load::units);
        let words: RegionWords = (is_down, own, displaced, away, reported);
        (region.as_str(), words)
    });
    // Maps of names to numbers can always be written.
    serde_json::to_string(&words.collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

/// Writes how sure the removals are of the regions that a view sees down; what is missing is
/// unproven.
fn write_removals(view: &NodeView) -> String {
    let removals = view.votes().filter_map(|(region, vote)| match vote {
        Vote::Well | Vote::Down(Removal::Unproven) => None,
        Vote::Down(removal) => Some((region.as_str(), removal.as_str())),
    });
    // Maps of names to words can always be written.
    serde_json::to_string(&removals.collect::<BTreeMap<_, _>>()).unwrap_or_default()
}

/// Reads how sure removals are. A word of a later version that is not known is no proof.
fn read_removals(text: &str) -> Result<BTreeMap<RegionId, Removal>, Nonsense> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let removals: BTreeMap<String, String> = serde_json::from_str(text)?;
    let known = removals.into_iter().filter_map(|(region, word)| {
        let is_word = |removal: &Removal| removal.as_str() == word;
        let removal = [Removal::Held, Removal::Proven].into_iter().find(is_word)?;
        Some(region.parse().map(|region| (region, removal)))
    });
    Ok(known.collect::<Result<_, _>>()?)
}

/// Writes what a node says of itself.
fn write_summary(summary: &NodeSummary) -> String {
    // Words, numbers and maps of names can always be written.
    serde_json::to_string(&api::NodeSummary::from(summary)).unwrap_or_default()
}

/// Reads what a node says of itself, if it says anything and that is understood.
fn read_summary(text: &str) -> Option<Arc<NodeSummary>> {
    if text.is_empty() {
        return None;
    }
    let summary: api::NodeSummary = match serde_json::from_str(text) {
        Ok(summary) => summary,
        Err(error) => {
            tracing::debug!(%error, "a node's summary is not understood");
            return None;
        }
    };
    summary.to_domain().map(Arc::new)
}

/// Why a node is not understood.
#[derive(Debug, Error)]
enum Nonsense {
    #[error("the answer has another form")]
    Form,
    #[error("it sees more regions than there may be")]
    Size,
    #[error("a name is none")]
    Name(#[from] NameError),
    #[error("a load is none")]
    Load(#[from] LoadError),
    #[error("its words cannot be read")]
    Words(#[from] serde_json::Error),
}

/// Reads what is said of a node: its name, the age, the number, and the words, removals and summary,
/// if they are not known.
fn read_node(
    node: Value,
    known: &BTreeMap<NodeId, (String, Said)>,
) -> Result<(String, Heard), Nonsense> {
    let parts: [Value; 6] = node.into_array().try_into().map_err(|_| Nonsense::Form)?;
    let [name, age, number, words, removals, summary] = parts;
    let text = |value: &Value| value.as_string().ok_or(Nonsense::Form);
    let node: NodeId = text(&name)?.parse()?;
    let number = text(&number)?;
    let age = Duration::from_millis(age.as_u64().ok_or(Nonsense::Form)?);
    let said = match known.get(&node) {
        Some((known, said)) if *known == number => said.clone(),
        Some(_) | None => Said {
            view: Arc::new(read(&text(&words)?, &text(&removals)?)?),
            summary: read_summary(&text(&summary)?),
        },
    };
    let Said { view, summary } = said;
    Ok((number, Heard { node, view, summary, age }))
}

fn read(words: &str, removals: &str) -> Result<NodeView, Nonsense> {
    let said: BTreeMap<String, RegionWords> = serde_json::from_str(words)?;
    if said.len() > MOST_REGIONS {
        return Err(Nonsense::Size);
    }
    let removals = read_removals(removals)?;
    let mut view = NodeView::default();
    for (region, (is_down, own, displaced, away, reported)) in said {
        let region: RegionId = region.parse()?;
        let removal = removals.get(&region).copied().unwrap_or_default();
        let vote = is_down.map(|is_down| if is_down { Vote::Down(removal) } else { Vote::Well });
        let reported = reported.map(Load::new).transpose()?;
        let (own, displaced, away) = (Load::new(own)?, Load::new(displaced)?, Load::new(away)?);
        let load = LoadShare { own, displaced, away, reported };
        view.regions.insert(region, Sight { vote, load });
    }
    Ok(view)
}
