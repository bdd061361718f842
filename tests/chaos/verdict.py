"""What must hold after a fault, judged from what was seen: a pure function, so that it can be shown to find fault."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.api import FINAL

RECOVERY_LIMIT = 20.0
"""Seconds from the fault's end until all is answered."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """An accepted message, and all that became of it by the system's own account."""

    run_id: str
    agent_id: str
    content: str
    """Unique."""
    expected: str
    """The reply that the model was told to give."""
    status: str
    """Of its run, at the end."""
    error_code: str | None = None
    replies: tuple[str, ...] = ()
    """The assistant's messages that belong to its run."""
    tasks: int = 1


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one reader of a session's stream understood of one run."""

    status: str | None
    """Its end, as told by events, or by the snapshot after a gap."""
    contradictions: tuple[str, ...] = ()
    """Ends that were told beside it."""
    text: str | None = None
    """The pieces of the last attempt joined; `None` if the reader knows that it lacks some."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is known after a fault."""

    sent: Sequence[Sent]
    heard: Mapping[str, Heard]
    """By run."""
    limits: Mapping[str, int]
    """By agent."""
    seen_at_once: Mapping[str, int]
    """By agent: the most model calls at once."""
    served: Mapping[str, int]
    """By content: the model calls that were answered to their end."""
    costs_running_work: bool
    """Whether the fault may fail what ran where it struck."""
    may_drop_text: bool
    """Whether pieces of text may be missing without anybody knowing, because their buffer or their node is gone."""
    dropped: Collection[str]
    """The runs of which a node says that it could not publish something."""
    recovery: float
    last: str = ""
    """What kept it from being shorter."""


@dataclass(kw_only=True)
class Verdict:
    """The row of a fault in the table, and what is wrong, in words."""

    messages: int
    completed: int
    worker_lost: int
    lost: int
    doubled: int
    over_limit: int
    whole: int
    """Replies that readers saw piece by piece from beginning to end."""
    recovery: float
    faults: list[str] = field(default_factory=list)


def judge(evidence: Evidence) -> Verdict:
    """Compare everything with everything."""
    complaints = [
        (sent, *complaint)
        for sent in evidence.sent
        for complaint in [*_ending(sent, evidence), *_doubling(sent, evidence), *_telling(sent, evidence)]
    ]
    over = [agent for agent, limit in evidence.limits.items() if evidence.seen_at_once.get(agent, 0) > limit]
    wrong = [f"{kind}: {text} ({sent.content!r}, run {sent.run_id})" for sent, kind, text in complaints]
    wrong += [f"over limit: {evidence.seen_at_once[agent]} > {evidence.limits[agent]} ({agent})" for agent in over]
    if evidence.recovery > RECOVERY_LIMIT:
        wrong.append(f"slow: all was well after {evidence.recovery:.1f} s only; {evidence.last}")
    kinds = Counter(kind for _, kind in {(sent.run_id, kind) for sent, kind, _ in complaints})
    return Verdict(
        messages=len(evidence.sent),
        completed=sum(sent.status == "completed" for sent in evidence.sent),
        worker_lost=sum(_is_worker_lost(sent) for sent in evidence.sent),
        lost=kinds["lost"],
        doubled=kinds["doubled"],
        over_limit=len(over),
        whole=sum(_is_whole(sent, evidence) for sent in evidence.sent),
        recovery=evidence.recovery,
        faults=wrong,
    )


Complaint = tuple[str, str]


def _ending(sent: Sent, evidence: Evidence) -> list[Complaint]:
    """Exactly one end, and a good one."""
    if sent.status not in FINAL:
        return [("lost", f"it is {sent.status}")]
    if sent.status == "completed":
        if not sent.replies:
            return [("lost", "it is completed without a reply")]
        if any(reply != sent.expected for reply in sent.replies):
            return [("wrong", f"the reply is {sent.replies!r}")]
        return []
    if not _is_worker_lost(sent):
        return [("failed", f"it is {sent.status} with {sent.error_code}")]
    return [] if evidence.costs_running_work else [("failed", "it is failed with worker_lost")]


def _doubling(sent: Sent, evidence: Evidence) -> list[Complaint]:
    """Nothing is done, or told, twice."""
    found = []
    if sent.tasks != 1:
        found.append(("doubled", f"its run has {sent.tasks} tasks"))
    allowed = 1 if sent.status == "completed" else 0
    if len(sent.replies) > allowed:
        found.append(("doubled", f"it is {sent.status} with {len(sent.replies)} replies"))
    calls = evidence.served.get(sent.content, 0)
    if calls > 1:
        found.append(("doubled", f"the model answered it {calls} times"))
    return found


def _telling(sent: Sent, evidence: Evidence) -> list[Complaint]:
    """The stream told the truth, and all of it."""
    heard = evidence.heard.get(sent.run_id, Heard(status=None))
    found = [("untrue", f"the stream told of {status}") for status in heard.contradictions]
    if heard.status is None and sent.status in FINAL:
        found.append(("untold", f"the stream did not tell that it is {sent.status}"))
    elif heard.status is not None and heard.status != sent.status:
        found.append(("untrue", f"the stream told of {heard.status}, and it is {sent.status}"))
    if sent.status == "completed" and sent.replies:
        excused = evidence.may_drop_text or sent.run_id in evidence.dropped
        if heard.text is None and not excused:
            found.append(("untold", "pieces of its text are missing from the stream"))
        elif heard.text is not None and heard.text != sent.replies[0]:
            found.append(("untrue", f"the stream's text is {heard.text!r}, the reply {sent.replies[0]!r}"))
    return found


def _is_worker_lost(sent: Sent) -> bool:
    return sent.status == "failed" and sent.error_code == "worker_lost"


def _is_whole(sent: Sent, evidence: Evidence) -> bool:
    heard = evidence.heard.get(sent.run_id)
    return heard is not None and heard.text is not None and sent.status == "completed"
