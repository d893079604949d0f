//! One look at the queues: what can start, in which order, and the claim.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use buildguild_config::LoadedFarm;
use buildguild_types::{farm::BuilderConfig, ids::BuilderId, resources::BuildRequest};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{
    Distributor,
    choose::{Choice, ChooseError},
    handover::Assignment,
    lanes::lanes,
    order::{Ordered, Urgency, urgency},
    question::{Answer, PATIENCE, Question},
    service::{Agenda, State},
    troubles::Subject,
    views,
};
use crate::functions::Functions;

/// A builder that may start something.
struct Entry {
    question: Question,
    urgency: Urgency,
    head: Head,
}

/// What a builder chooses from.
enum Head {
    /// It has to be asked.
    Ask,
    /// These.
    Known(Vec<BuildRequest>),
    /// What is read when its turn comes, if there is still a worker for it.
    Later,
}

/// For so few builders each queue is read by itself, which makes one question less.
const FEW: usize = 4;

/// What is to be claimed.
#[derive(Default)]
struct Wanted {
    choices: Vec<(Arc<BuilderConfig>, Arc<LoadedFarm>, Choice)>,
    /// Builders with which nothing is left then.
    exhausted: Vec<BuilderId>,
}

impl Distributor {
    /// Looks at the builders of the agenda, and at those that had something left.
    pub(super) async fn pass(&self, agenda: &Agenda, state: &mut State) -> Result<(), ChooseError> {
        let means = &self.means;
        let applied = means.parts.applied();
        let (farm, configs) = (Arc::clone(&applied.farm), &applied.configs);
        let functions = means.parts.functions();
        state.aside.under(&farm.hash);
        state.troubles.under(&farm.hash);
        state.inquiries.under(&farm.hash);
        let mut look: BTreeSet<BuilderId> = agenda.fresh.clone();
        if agenda.all {
            let all: Vec<BuilderId> = configs.keys().copied().collect();
            look.extend(means.parts.store.builders_waiting(&all).await?);
            state.leftovers.clone_from(&look);
        }
        // A worker that became free may do for any builder that has requests left.
        look.extend(state.leftovers.iter().copied());
        let mut questions = Vec::new();
        for id in look {
            let Some(config) = configs.get(&id) else {
                state.leftovers.remove(&id);
                continue;
            };
            if state.aside.has(Subject::Builder(id)) {
                state.leftovers.insert(id);
                continue;
            }
            let is_fresh = agenda.all || agenda.fresh.contains(&id);
            let question = Question {
                means: Arc::clone(means),
                farm: Arc::clone(&farm),
                functions: functions.clone(),
                id,
                config: Arc::clone(config),
                is_fresh,
            };
            if question.asks_functions() && state.inquiries.is_asking(id) {
                state.leftovers.insert(id);
                continue;
            }
            if is_fresh {
                state.leftovers.insert(id);
            }
            if question.may_have_to_do() {
                questions.push(question);
            }
        }
        let ready = if questions.len() <= FEW {
            let mut ready = Vec::new();
            for question in questions {
                ready.extend(self.prepare(question, state).await?);
            }
            ready
        } else {
            self.prepare_many(questions, state).await?
        };
        if ready.is_empty() {
            return Ok(());
        }
        let ordered = self.prioritize(&farm, &functions, ready, state).await;
        self.start(ordered, state).await
    }

    /// What a builder could start, if there is something.
    async fn prepare(&self, question: Question, state: &mut State) -> Result<Option<Entry>, ChooseError> {
        let id = question.id;
        if question.asks_functions() {
            return Ok(match self.means.parts.store.claimable(id, 1).await?.first() {
                Some(first) => Some(Entry { urgency: urgency(first), question, head: Head::Ask }),
                None => {
                    state.leftovers.remove(&id);
                    None
                }
            });
        }
        let (head, _) = question.head().await?;
        Ok(match head.first().map(urgency) {
            Some(urgency) => Some(Entry { question, urgency, head: Head::Known(head) }),
            None => {
                if question.chooser().free_places() > 0 {
                    state.leftovers.remove(&id);
                }
                None
            }
        })
    }

    /// The same for many builders: their queues are looked at together, and read only where there is something to do.
    async fn prepare_many(&self, questions: Vec<Question>, state: &mut State) -> Result<Vec<Entry>, ChooseError> {
        let ids: Vec<BuilderId> = questions.iter().map(|question| question.id).collect();
        let queues = self.means.parts.store.queues(&ids).await?;
        let mut queues: BTreeMap<_, _> = queues.into_iter().map(|queue| (queue.first.builderid, queue)).collect();
        let collapser = &self.means.collapser;
        let mut ready = Vec::new();
        for question in questions {
            let id = question.id;
            let Some(queue) = queues.remove(&id) else {
                state.leftovers.remove(&id);
                continue;
            };
            let urgency = urgency(&queue.first);
            let first = queue.first.buildrequestid;
            if question.asks_functions() {
                ready.push(Entry { urgency, question, head: Head::Ask });
            } else if question.collapses() && collapser.is_changed(id, first, queue.newest) {
                let entry = self.prepare(question, state).await?;
                collapser.has_looked(id, first, queue.newest);
                ready.extend(entry);
            } else if question.chooser().free_places() > 0 {
                ready.push(Entry { urgency, question, head: Head::Later });
            }
        }
        Ok(ready)
    }

    /// The builders in the order in which they may take workers: the one with the most urgent, then oldest request
    /// first, or as `prioritizeBuilders` says (builders that it leaves out start nothing).
    async fn prioritize(
        &self,
        farm: &LoadedFarm,
        functions: &Functions,
        mut ready: Vec<Entry>,
        state: &mut State,
    ) -> Vec<Entry> {
        ready.sort_by_key(|entry| entry.urgency);
        let Some(function) = &farm.farm.prioritize_builders else { return ready };
        if state.aside.has(Subject::Order) {
            return ready;
        }
        let views: Vec<Value> = ready.iter().map(|e| views::builder(e.question.id, &e.question.config)).collect();
        let trouble = match state.order.ask(functions, function, &views).await {
            Ordered::Late => return ready,
            Ordered::Answer(Ok(Value::Array(order)), _) => {
                state.aside.answered(Subject::Order);
                state.troubles.answered(Subject::Order);
                let mut slots: Vec<Option<Entry>> = ready.into_iter().map(Some).collect();
                return order
                    .iter()
                    .filter_map(|wanted| views::chosen(&views, "name", wanted))
                    .filter_map(|index| slots.get_mut(index)?.take())
                    .collect();
            }
            Ordered::Answer(Ok(other), _) => {
                format!("prioritizeBuilders gave {}, not a list", buildguild_types::pyrepr::type_name(&other))
            }
            Ordered::Answer(Err(error), took) => {
                state.aside.failed(Subject::Order, took);
                format!("prioritizeBuilders failed: {error}")
            }
        };
        if let Some(unsaid) = state.troubles.failed(Subject::Order, &trouble) {
            tracing::error!(unsaid, "{trouble}; builders keep their default order");
        }
        ready
    }

    /// Claims and starts what can start. Builders whose functions answer within a moment keep their place in the order;
    /// the others start what they chose when they have chosen.
    async fn start(&self, ordered: Vec<Entry>, state: &mut State) -> Result<(), ChooseError> {
        let mut lanes = match ordered.iter().all(|entry| !matches!(entry.head, Head::Ask)) {
            true => vec![VecDeque::from(ordered)],
            false => lanes(ordered, |entry| &entry.question.config.worker_names),
        };
        let mut waiting: Vec<Option<BuilderId>> = vec![None; lanes.len()];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut wanted = Wanted::default();
            for (lane, waiting) in lanes.iter_mut().zip(&mut waiting) {
                while waiting.is_none()
                    && let Some(Entry { question, head, .. }) = lane.pop_front()
                {
                    let id = question.id;
                    let head = match head {
                        Head::Ask => None,
                        Head::Known(head) => Some(head),
                        Head::Later if question.chooser().free_places() == 0 => continue,
                        Head::Later => Some(question.read().await?),
                    };
                    match head {
                        Some(head) => {
                            let config = Arc::clone(&question.config);
                            let chosen = question.choose(head).await;
                            let farm = Arc::clone(&question.farm);
                            self.absorb(Answer::at_once(id, config, farm, chosen), state, &mut wanted);
                        }
                        None => {
                            if state.inquiries.begin(question) && Instant::now() < deadline {
                                *waiting = Some(id);
                            }
                        }
                    }
                }
            }
            self.claim(wanted, state).await?;
            if waiting.iter().all(Option::is_none) {
                return Ok(());
            }
            match timeout_at(deadline, state.inquiries.next()).await {
                Ok((answer, again)) => {
                    for waiting in &mut waiting {
                        waiting.take_if(|id| *id == answer.id);
                    }
                    self.take_answer(answer, again, state).await?;
                }
                Err(_) => {
                    for late in waiting.iter_mut().filter_map(Option::take) {
                        state.inquiries.is_late(late);
                    }
                }
            }
        }
    }

    /// Claims and starts what an answer says.
    pub(super) async fn take_answer(&self, answer: Answer, again: bool, state: &mut State) -> Result<(), ChooseError> {
        if again {
            state.again.insert(answer.id);
        }
        let mut wanted = Wanted::default();
        self.absorb(answer, state, &mut wanted);
        self.claim(wanted, state).await
    }

    fn absorb(&self, answer: Answer, state: &mut State, wanted: &mut Wanted) {
        let Answer { id, config, farm, took, outcome, trouble } = answer;
        let subject = Subject::Builder(id);
        if farm.hash != self.means.parts.farm().hash {
            // Chosen under a configuration that is not in force any more; dropping it gives the places back.
            state.again.insert(id);
            return;
        }
        match outcome {
            Ok(chosen) => {
                state.aside.answered(subject);
                match &trouble {
                    Some(error) => self.report(&config, id, error, state),
                    None if state.troubles.answered(subject) => {
                        let name = config.name.as_str();
                        tracing::info!(builder.name = name, "the functions of builder {name} answer again");
                    }
                    None => {}
                }
                state.leftovers.insert(id);
                if chosen.is_exhausted {
                    wanted.exhausted.push(id);
                }
                let choices = chosen.choices.into_iter();
                wanted.choices.extend(choices.map(|choice| (Arc::clone(&config), Arc::clone(&farm), choice)));
            }
            Err(error) => {
                state.leftovers.insert(id);
                self.report(&config, id, &error, state);
                if matches!(error, ChooseError::Call(_))
                    && let Some(pause) = state.aside.failed(subject, took)
                {
                    let (name, secs) = (config.name.as_str(), pause.as_secs());
                    tracing::warn!(
                        builder.name = name,
                        "builder {name} starts nothing for {secs} s, since its functions take too long"
                    );
                }
            }
        }
    }

    /// Claims in one transaction, and starts what was won.
    async fn claim(&self, wanted: Wanted, state: &mut State) -> Result<(), ChooseError> {
        let Wanted { choices, exhausted } = wanted;
        if !choices.is_empty() {
            let ids: Vec<_> = choices.iter().map(|(_, _, choice)| choice.request.buildrequestid).collect();
            // If this fails, dropping the choices gives the places back.
            let won = self.means.parts.store.claim(&ids).await?;
            self.means.metrics.claims_won.inc_by(won.len() as u64);
            self.means.metrics.claims_lost.inc_by((ids.len() - won.len()) as u64);
            for id in &exhausted {
                state.leftovers.remove(id);
            }
            let mut won: BTreeMap<_, _> = won.into_iter().map(|r| (r.buildrequestid, r)).collect();
            for (builder, farm, Choice { request, slot }) in choices {
                let Some(request) = won.remove(&request.buildrequestid) else {
                    // Another replica was faster, or somebody cancelled it. There may be more behind it.
                    state.leftovers.insert(request.builderid);
                    continue;
                };
                let builder_id = request.builderid;
                let assignment = Assignment { request, builder_id, builder, farm, slot };
                let runner = Arc::clone(&self.means.runner);
                self.means.builds.spawn(async move { runner.run(assignment).await });
            }
            return Ok(());
        }
        for id in &exhausted {
            state.leftovers.remove(id);
        }
        Ok(())
    }

    fn report(&self, builder: &BuilderConfig, id: BuilderId, error: &ChooseError, state: &mut State) {
        let name = builder.name.as_str();
        if matches!(error, ChooseError::Call(_)) {
            self.means.parts.figures.function_failures.with_label_values(&[name]).inc();
        }
        if let Some(unsaid) = state.troubles.failed(Subject::Builder(id), &error.to_string()) {
            let error = error as &dyn std::error::Error;
            tracing::error!(builder.name = name, error, unsaid, "builder {name} may start nothing: {error}");
        }
    }
}
