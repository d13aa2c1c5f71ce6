//! The results of the scrapes of one queue, and what they say about its pods. Pure; the time is
//! passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use taskqueue_scaling::{
    PerType, PodSlots, Reading, SlotSource, Slots, Time, TypeSlots, UnknownReason,
};
use taskqueue_temporal::LivePod;

use super::failure::Failure;

/// Added to two and a half intervals, because rounds take time: as for heartbeats.
const ALLOWANCE: Duration = Duration::from_secs(6);

/// The slots of one worker process, per task type.
pub(super) type Found = PerType<Option<TypeSlots>>;

/// The result of scraping one pod.
pub(super) type Answer = Result<Found, Failure>;

/// The results of the scrapes of one queue so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Samples {
    opened: Time,
    round: Option<Time>,
    pods: BTreeMap<String, PodSamples>,
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PodSamples {
    /// Time and slots of the last success.
    last: Option<(Time, Found)>,
    /// The latest failure since then, when the failures began, and how many there were.
    failing: Option<(Failure, Time, u32)>,
}

impl Samples {
    /// Creates empty samples; `now` is when scraping began.
    pub(super) fn new(now: Time) -> Self {
        Self {
            opened: now,
            round: None,
            pods: BTreeMap::new(),
            counts: Failure::ALL
                .iter()
                .map(|failure| (failure.as_str(), 0))
                .chain([(OK, 0)])
                .collect(),
        }
    }

    /// Stores the results of one round; pods that were not scraped are dropped. Returns true if
    /// anything besides time has changed.
    pub(super) fn take(&mut self, answers: Vec<(String, Time, Answer)>, now: Time) -> bool {
        let before = std::mem::take(&mut self.pods);
        let mut news = before.len() != answers.len() || self.round.is_none();
        for (pod, at, answer) in answers {
            let old = before.get(&pod);
            let result = answer.map_or_else(Failure::as_str, |_| OK);
            let count = self.counts.entry(result).or_default();
            *count = count.saturating_add(1);
            let new = PodSamples::after(old.cloned().unwrap_or_default(), at, answer);
            news |= old.is_none_or(|old| old.differs(&new));
            self.pods.insert(pod, new);
        }
        self.round = Some(now);
        news
    }

    /// Attempts by result.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    /// Why pods cannot be read, if some cannot: the failure of the pod that has failed longest.
    pub(super) fn failure(&self) -> Option<Failure> {
        let failing = self.pods.values().filter_map(|pod| pod.failing);
        failing
            .min_by_key(|(_, since, _)| *since)
            .map(|(why, ..)| why)
    }

    /// The slots in use in the pods. A pod whose last scrape failed is not fresh, whatever it
    /// reported before. If pods are past their start and none was ever read, the slots are unknown.
    pub(super) fn slots(&self, pods: &[LivePod], interval: Duration, now: Time) -> Reading<Slots> {
        let read = |pod: &&LivePod| {
            self.pods
                .get(&pod.name)
                .is_some_and(|seen| seen.last.is_some())
        };
        let past_their_start = pods.iter().any(|pod| !pod.phase.is_starting());
        if past_their_start && !pods.iter().any(|pod| read(&pod)) {
            return self.unknown(pods);
        }
        let window = interval
            .saturating_mul(5)
            .checked_div(2)
            .unwrap_or(interval)
            .saturating_add(ALLOWANCE);
        let joined = pods.iter().map(|pod| self.pod(pod, window, now));
        Reading::Known {
            value: Slots {
                pods: joined.collect(),
                source: SlotSource::Scraped,
            },
            taken_at: self.round.unwrap_or(now),
        }
    }

    fn unknown(&self, pods: &[LivePod]) -> Reading<Slots> {
        let failing = pods
            .iter()
            .filter_map(|pod| self.pods.get(&pod.name)?.failing);
        let worst = failing.min_by_key(|(_, since, _)| *since);
        match worst {
            Some((_, since, failures)) => Reading::Unknown {
                reason: UnknownReason::ScrapeFailed,
                since,
                failures,
            },
            None => Reading::Unknown {
                reason: UnknownReason::NotReadYet,
                since: self.opened,
                failures: 0,
            },
        }
    }

    fn pod(&self, pod: &LivePod, window: Duration, now: Time) -> PodSlots {
        let seen = self.pods.get(&pod.name);
        let last = seen.and_then(|seen| seen.last);
        let fresh = last.filter(|(at, _)| {
            seen.is_some_and(|seen| seen.failing.is_none()) && now.since(*at) <= window
        });
        PodSlots {
            pod: pod.name.clone(),
            phase: pod.phase,
            listed: last.is_some(),
            fresh: fresh.is_some(),
            reported_at: last.map(|(at, _)| at),
            reported_after: fresh.map(|(at, _)| at),
            types: fresh.map_or_else(PerType::default, |(_, found)| found),
            elsewhere: None,
        }
    }
}

/// The result of a successful scrape, beside those of [`Failure`].
pub(super) const OK: &str = "ok";

impl PodSamples {
    fn after(self, at: Time, answer: Answer) -> Self {
        match answer {
            Ok(found) => Self {
                last: Some((at, found)),
                failing: None,
            },
            Err(failure) => {
                let (since, before) = self
                    .failing
                    .map_or((at, 0), |(_, since, failures)| (since, failures));
                Self {
                    last: self.last,
                    failing: Some((failure, since, before.saturating_add(1))),
                }
            }
        }
    }

    /// Whether slots or failure differ, rather than times only.
    fn differs(&self, other: &Self) -> bool {
        let slots = |seen: &Self| seen.last.map(|(_, found)| found);
        let failure = |seen: &Self| seen.failing.map(|(failure, ..)| failure);
        slots(self) != slots(other) || failure(self) != failure(other)
    }
}

#[cfg(test)]
mod tests {
    use taskqueue_scaling::PodPhase;

    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn at(second: u64) -> Time {
        Time::from_secs(1_000 + second)
    }

    fn found(used: u32) -> Found {
        PerType {
            activity: Some(TypeSlots {
                used,
                available: Some(10 - used),
                processed_total: None,
            }),
            ..PerType::default()
        }
    }

    fn live(name: &str, phase: PodPhase) -> LivePod {
        LivePod {
            name: name.to_owned(),
            phase,
        }
    }

    fn answers(at: Time, answers: &[(&str, Answer)]) -> Vec<(String, Time, Answer)> {
        let one = |(pod, answer): &(&str, Answer)| ((*pod).to_owned(), at, *answer);
        answers.iter().map(one).collect()
    }

    fn pod(name: &str, fresh: bool, reported: Option<u64>, types: Found) -> PodSlots {
        PodSlots {
            pod: name.to_owned(),
            phase: PodPhase::Ready,
            listed: reported.is_some(),
            fresh,
            reported_at: reported.map(at),
            reported_after: reported.filter(|_| fresh).map(at),
            types,
            elsewhere: None,
        }
    }

    #[test]
    fn a_pod_whose_scrape_fails_is_unknown_and_not_idle() {
        let pods = [live("a", PodPhase::Ready), live("b", PodPhase::Ready)];
        let mut seen = Samples::new(at(0));
        seen.take(
            answers(at(1), &[("a", Ok(found(3))), ("b", Ok(found(0)))]),
            at(1),
        );
        seen.take(
            answers(at(6), &[("a", Ok(found(2))), ("b", Err(Failure::Timeout))]),
            at(6),
        );
        assert_eq!(
            seen.slots(&pods, EVERY, at(6)),
            Reading::Known {
                value: Slots {
                    pods: vec![
                        pod("a", true, Some(6), found(2)),
                        pod("b", false, Some(1), Found::default())
                    ],
                    source: SlotSource::Scraped,
                },
                taken_at: at(6),
            }
        );
        assert_eq!(seen.failure(), Some(Failure::Timeout));
    }

    #[test]
    fn an_answer_that_is_not_renewed_goes_stale() {
        let pods = [live("a", PodPhase::Ready)];
        let mut seen = Samples::new(at(0));
        seen.take(answers(at(0), &[("a", Ok(found(0)))]), at(0));
        let fresh = |second| {
            let slots = seen.slots(&pods, EVERY, at(second));
            slots.known().map(|slots| slots.pods[0].fresh)
        };
        assert_eq!((fresh(18), fresh(19)), (Some(true), Some(false)));
    }

    #[test]
    fn pods_that_were_never_read_are_unknown_with_the_reason() {
        let pods = [live("a", PodPhase::Ready), live("b", PodPhase::Starting)];
        let mut seen = Samples::new(at(0));
        let unknown = |reason, since, failures| Reading::Unknown {
            reason,
            since: at(since),
            failures,
        };
        assert_eq!(
            seen.slots(&pods, EVERY, at(0)),
            unknown(UnknownReason::NotReadYet, 0, 0)
        );
        seen.take(answers(at(3), &[("a", Err(Failure::Unreachable))]), at(3));
        seen.take(answers(at(8), &[("a", Err(Failure::Status))]), at(8));
        assert_eq!(
            seen.slots(&pods, EVERY, at(8)),
            unknown(UnknownReason::ScrapeFailed, 3, 2)
        );
        // While every pod is still starting, nothing is missing.
        assert!(seen.slots(&pods[1..], EVERY, at(8)).known().is_some());
    }

    #[test]
    fn only_changes_are_news_and_every_attempt_is_counted() {
        let mut seen = Samples::new(at(0));
        let one = |answer| vec![("a".to_owned(), at(0), answer)];
        assert!(seen.take(one(Ok(found(1))), at(0)));
        assert!(!seen.take(one(Ok(found(1))), at(5)));
        assert!(seen.take(one(Ok(found(2))), at(10)));
        assert!(seen.take(one(Err(Failure::NoSlots)), at(15)));
        assert!(!seen.take(one(Err(Failure::NoSlots)), at(20)));
        assert!(seen.take(Vec::new(), at(25)), "the pod is gone");
        let counted = seen.counts().into_iter().filter(|(_, count)| *count > 0);
        assert_eq!(counted.collect::<Vec<_>>(), [("no_slots", 2), ("ok", 3)]);
    }
}
