//! Authorised shapes, kept for the life of the process: requests that differ in values alone share one.

use crate::authorise::Authoriser;
use crate::footprint::{self, Template};
use crate::native;
use crate::statements::{Cost, Statement};
use mainstay_cache::{Cache, Footprint, Key};
use mainstay_model::{Claim, Error, Identity, QueryShape, RelationId, Result, Schema, Value};
use mainstay_store::Capabilities;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// At most so many plans are kept, of so many bytes; beyond it those go that were not used since the last time.
const PLANS_MAX: usize = 8192;
const PLANS_BYTES_MAX: usize = 64 << 20;

/// At most so many of them are found without hashing their shape, per thread: each may hold a shape of its own in memory.
const RECENT_MAX: usize = 2048;
const RECENT_BYTES_MAX: usize = 16 << 20;

/// A read as a role may do it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Identifies it to stores and caches. Never used twice.
    pub id: u64,
    /// Whether it comes again under this number: a shape that is too large to keep is planned each time.
    pub kept: bool,
    /// Bytes that it and the shape that was asked hold, about.
    weight: usize,
    /// With security filled in.
    pub shape: Arc<QueryShape>,
    /// Index of the store that answers it.
    pub store: u16,
    /// The claims that decide what is seen.
    claims: Vec<Claim>,
    /// Whether the answer may be kept; else why not.
    pub cacheable: Result<(), &'static str>,
    template: Template,
    relations: Vec<RelationId>,
    /// Since plans were last thrown out. Whoever sends ever new shapes must not throw out those in use: with a plan's number go
    /// its answers in the cache and its statements in the store.
    used: AtomicBool,
    /// What it has cost its store.
    pub cost: Cost,
}

impl Plan {
    /// The caller reduced to what the answer may depend on.
    pub fn class(&self, identity: &Identity) -> Identity {
        if identity.claims.is_empty() {
            identity.clone()
        } else {
            identity.reduced_to(&self.claims)
        }
    }

    /// Notes that it is in use. Written to only when it changes, since all threads share it.
    fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// The key of the answer that a class gets.
    pub fn key(&self, schema: &Schema, params: &[Value], caller: &Identity, representation: &str) -> Key {
        Key::new(self.id, schema.digest, params, caller, &self.claims, representation)
    }

    /// What the answer depends on, with the values of one request.
    pub fn footprint(&self, params: &[Value], class: &Identity) -> Footprint {
        self.template.footprint(params, class)
    }

    /// The shortest time to live that a table of the answer is given.
    pub fn ttl(&self, cache: &Cache) -> Option<Duration> {
        self.relations.iter().filter_map(|r| cache.ttl(*r)).min()
    }
}

/// Where a store stands, and how much of authorisation it does itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Its index.
    index: u16,
    /// Whether privileges and policies are its own affair.
    native: bool,
    /// Whether it tells of every commit, so that answers may be kept.
    feed: bool,
}

impl Place {
    /// As the store says of itself.
    pub fn of(capabilities: &Capabilities) -> Place {
        Place {
            index: capabilities.store,
            native: capabilities.native_policies,
            feed: capabilities.change_feed,
        }
    }
}

/// A shape and a role: what a plan belongs to. Hashed once; a shape is large.
#[derive(Clone, PartialEq, Eq)]
struct PlanKey {
    hash: u64,
    shape: Arc<QueryShape>,
    role: Arc<str>,
}

impl Hash for PlanKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The last number given to a plan. Stores and caches know plans by number and may outlive an engine: no two plans of a process
/// share one.
static LAST_PLAN: AtomicU64 = AtomicU64::new(0);

/// The last number given to a collection of plans.
static LAST_PLANS: AtomicU64 = AtomicU64::new(0);

/// All plans of an engine.
#[derive(Default)]
pub(crate) struct Plans {
    /// Tells this collection's plans from another's on the same thread.
    id: u64,
    stores: HashMap<Arc<str>, Place>,
    known: RwLock<Known>,
    hasher: ahash::RandomState,
}

#[derive(Default)]
struct Known {
    plans: HashMap<PlanKey, Arc<Plan>, ahash::RandomState>,
    bytes: usize,
}

impl Known {
    /// Makes room for one more.
    fn make_room(&mut self, bytes: usize) {
        let is_full = |known: &Known, of: usize| {
            known.plans.len() >= PLANS_MAX / 4 * of || known.bytes + bytes > PLANS_BYTES_MAX / 4 * of
        };
        if !is_full(self, 4) {
            return;
        }
        self.plans.retain(|_, plan| plan.used.swap(false, Ordering::Relaxed));
        self.bytes = self.plans.values().map(|plan| plan.weight).sum();
        if is_full(self, 3) {
            self.plans.clear();
            self.bytes = 0;
        }
    }
}

/// The plans that roles have.
type ByRole = Vec<(Arc<str>, Arc<Plan>)>;

/// Plans by the address of their shape, and for each the roles that have one: an address is hashed in no time, a shape is not.
/// The shape is kept beside them, so that its address is not used again while it is here.
#[derive(Default)]
struct Recent {
    plans: HashMap<(u64, usize), (Arc<QueryShape>, ByRole), ahash::RandomState>,
    bytes: usize,
}

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

impl Plans {
    /// Knows the stores by name.
    pub fn new(stores: HashMap<Arc<str>, Place>) -> Plans {
        Plans {
            id: LAST_PLANS.fetch_add(1, Ordering::Relaxed) + 1,
            stores,
            ..Plans::default()
        }
    }

    /// The plan for a shape and a role, or why the role may not. Refusals are not kept.
    pub fn authorised(&self, schema: &Schema, shape: &Arc<QueryShape>, role: &Arc<str>) -> Result<Arc<Plan>> {
        let address = (self.id, Arc::as_ptr(shape) as usize);
        let recent = RECENT.with_borrow(|recent| {
            let (_, roles) = recent.plans.get(&address)?;
            roles
                .iter()
                .find(|(known, _)| known == role)
                .map(|(_, plan)| plan.clone())
        });
        if let Some(plan) = recent {
            plan.touch();
            return Ok(plan);
        }
        let key = PlanKey {
            hash: self.hasher.hash_one((shape, role)),
            shape: shape.clone(),
            role: role.clone(),
        };
        let known = {
            let known = self.known.read().unwrap_or_else(|e| e.into_inner());
            known.plans.get(&key).cloned()
        };
        let plan = match known {
            Some(plan) => {
                plan.touch();
                plan
            }
            None => {
                let plan = Arc::new(self.make(schema, shape, role)?);
                if !plan.kept {
                    return Ok(plan);
                }
                let mut known = self.known.write().unwrap_or_else(|e| e.into_inner());
                known.make_room(plan.weight);
                match known.plans.entry(key) {
                    Entry::Occupied(other) => other.get().clone(),
                    Entry::Vacant(place) => {
                        place.insert(plan.clone());
                        known.bytes += plan.weight;
                        plan
                    }
                }
            }
        };
        RECENT.with_borrow_mut(|recent| {
            if recent.plans.len() >= RECENT_MAX || recent.bytes + plan.weight > RECENT_BYTES_MAX {
                *recent = Recent::default();
            }
            recent.bytes += plan.weight;
            let (_, roles) = recent
                .plans
                .entry(address)
                .or_insert_with(|| (shape.clone(), Vec::new()));
            roles.push((role.clone(), plan.clone()));
        });
        Ok(plan)
    }

    /// Every plan that is kept, with what it has cost.
    pub fn statements(&self) -> Vec<Statement> {
        let known = self.known.read().unwrap_or_else(|e| e.into_inner());
        let plans = known.plans.iter();
        plans.map(|(key, plan)| Statement::of(plan, &key.role)).collect()
    }

    fn make(&self, schema: &Schema, shape: &Arc<QueryShape>, role: &Arc<str>) -> Result<Plan> {
        let is_native = |store: &str| self.stores.get(store).is_some_and(|place| place.native);
        if let Some(name) = native::of_shape(schema, shape, &is_native)?
            && let Some(place) = self.stores.get(&name)
        {
            // The shape goes to the database as it is: its own privileges, policies and views decide. Their read set is not known
            // here, so that nothing of it can be kept.
            return Ok(Plan {
                id: LAST_PLAN.fetch_add(1, Ordering::Relaxed) + 1,
                kept: shape.is_worth_keeping(),
                weight: shape.weight(),
                shape: shape.clone(),
                store: place.index,
                claims: vec![Claim::All],
                cacheable: Err(if place.feed {
                    "policies of the database"
                } else {
                    "no change feed"
                }),
                template: Template::nothing(),
                relations: Vec::new(),
                used: AtomicBool::new(false),
                cost: Cost::default(),
            });
        }
        let mut authoriser = Authoriser::new(schema, role);
        let authorised = authoriser.shape(shape)?;
        let facts = authoriser.facts;
        let mut stores = facts.stores.iter();
        let store = stores.next().map_or("main", |s| &**s);
        if let Some(other) = stores.next() {
            return Err(
                Error::unsupported(format!("one query cannot span the stores \"{store}\" and \"{other}\""))
                    .hint("ask for each by itself"),
            );
        }
        let store = self.stores.get(store).map(|place| place.index).ok_or_else(|| {
            Error::new("MS503", format!("the store \"{store}\" is not served by this process")).status(503)
        })?;
        let template = footprint::of(schema, &authorised);
        let relations = template.relations();
        let kept = shape.is_worth_keeping();
        Ok(Plan {
            id: LAST_PLAN.fetch_add(1, Ordering::Relaxed) + 1,
            kept,
            weight: shape.weight() + authorised.weight(),
            shape: Arc::new(authorised),
            store,
            claims: facts.claims.into_iter().collect(),
            cacheable: match facts.volatile {
                Some(why) => Err(why),
                None if !kept => Err("too large a query"),
                None => Ok(()),
            },
            template,
            relations,
            // The first use does not count: most that come once never come again.
            used: AtomicBool::new(false),
            cost: Cost::default(),
        })
    }
}
