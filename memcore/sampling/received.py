"""What a hosted model answered: each answer is written down before it is used, since it may be neither free nor repeatable.

A shard's answers are a journal (``memcore.engine.journal``), ``received/TASK.NUMBER.journal``, whose records are durable
when they are written. There are three kinds, told apart by their first key:

    asked     images that are about to be asked for, with their price; written only where images have a price
    answered  what came: for each image its bytes by their sha256, or why there is no picture
    failed    a request that brought nothing: a lost connection, an error of the server

Images are found again by prompt and seed, in whatever order they came. So what is computed of them depends on the bytes
that were received and on nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import secrets
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NotRequired, TypedDict

from memcore.engine.journal import Journal, Record
from memcore.errors import StoppedError
from memcore.storage.local import LocalStorage
from memcore.types import Request, SampleNote

#: Reason codes of what a server answered, besides ``http-STATUS``; docs/formats.md lists them. Where an image was asked for
#: again and came, they are notes; where none came, it is left out of its prompt.
SERVER_REASONS = {
    "http-cut": "they broke off",
    "http-slow": "they did not come in time",
    "http-connection": "no connection, or one that was lost",
    "http-format": "of another form than the protocol's",
    "http-few": "fewer images than were asked for",
    "http-too-large": "more bytes, or a picture of more pixels, than were asked for",
    "http-wrong-size": "a picture of another size",
    "http-unreadable": "a damaged picture, or none",
    "http-truncated": "a picture that ends early",
    "http-alpha": "a picture with transparent pixels",
    "http-animated": "a picture with several frames",
    "http-colour": "a picture of a colour space without a defined conversion",
    "http-depth": "a picture with more than 8 bits a channel",
    "http-sampler": "the server's sampler did not take the prompt",
}
#: The folder of a run that holds the journals of answers.
RECEIVED = "received"
#: Bytes after which a new segment is begun; an object store uploads a segment whole with each of its records.
_SEGMENT_BYTES, _OBJECT_BYTES = 256 << 20, 4 << 20

_log = logging.getLogger("memcore")

Key = tuple[int, int]


class Answer(NamedTuple):
    """What was received of one image: the file of a picture ("file"), its pixels ("raw"), or neither ("").

    ``flagged``: the server says that a safety checker replaced it. ``code`` and ``detail`` say why there is no picture, and
    ``final`` that asking again would not help.
    """

    kind: str
    data: bytes = b""
    flagged: bool = False
    code: str = ""
    detail: str = ""
    final: bool = False


class ReceivedImage(TypedDict):
    """An image in the head of a record: ``Answer``, with the bytes that it has in the payload."""

    prompt_id: int
    seed: int
    kind: str
    length: int
    sha256: str
    flagged: NotRequired[bool]
    code: NotRequired[str]
    detail: NotRequired[str]
    final: NotRequired[bool]


@dataclasses.dataclass(frozen=True)
class Spent:
    """Images that were received, and what they cost.

    ``unanswered`` images were asked for and never came: whether they are billed, the server knows. ``cost`` and
    ``unanswered_cost`` are None where no image had a price.
    """

    images: int = 0
    unanswered: int = 0
    cost: Decimal | None = None
    unanswered_cost: Decimal | None = None

    def plus(self, other: Spent) -> Spent:
        """Return the sum."""
        return Spent(
            self.images + other.images,
            self.unanswered + other.unanswered,
            _sum(self.cost, other.cost),
            _sum(self.unanswered_cost, other.unanswered_cost),
        )

    @property
    def most(self) -> Decimal:
        """Return what may be on the bill."""
        return (self.cost or Decimal()) + (self.unanswered_cost or Decimal())

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON holds them, costs as text so that no cent is rounded."""
        return {
            "images": self.images,
            "unanswered": self.unanswered,
            "cost": None if self.cost is None else str(self.cost),
            "unanswered_cost": None if self.unanswered_cost is None else str(self.unanswered_cost),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Spent:
        """Return what ``as_dict`` made."""
        costs = [None if told[name] is None else Decimal(told[name]) for name in ("cost", "unanswered_cost")]
        return cls(int(told["images"]), int(told["unanswered"]), *costs)


def _sum(first: Decimal | None, second: Decimal | None) -> Decimal | None:
    return second if first is None else first if second is None else first + second


class Spending:
    """What a run's images cost, and the limit that they must not reach: one for all shards of a process.

    Parameters
    ----------
    price
        Of an image, in any currency; None where it is not known.
    limit
        What may be spent, with what ``before`` spent already; None for no limit.

    >>> spending = Spending(Decimal("0.04"), Decimal("0.10"))
    >>> spending.reserve(2)
    >>> spending.reserve(1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    memcore.errors.StoppedError: 0.08 of max-cost=0.10 is spent or asked for, and the next image costs 0.04. ...
    """

    def __init__(
        self, price: Decimal | None = None, limit: Decimal | None = None, before: Spent | None = None
    ) -> None:
        self.price = price
        self.limit = limit
        self._most = before.most if before is not None else Decimal()
        self._lock = threading.Lock()

    def reserve(self, count: int) -> None:
        """Note that images are about to be asked for. Raises StoppedError if they could cost more than there is."""
        if self.price is None:
            return
        with self._lock:
            cost = count * self.price
            if self.limit is not None and self._most + cost > self.limit:
                next_ones = "image costs" if count == 1 else f"{count} images cost"
                raise StoppedError(
                    f"{self._most} of max-cost={self.limit} is spent or asked for, and the next {next_ones} {cost}. What "
                    "was received is kept. Give the same command with a larger --max-cost: it resumes the run"
                )
            self._most += cost

    def release(self, count: int) -> None:
        """Take back what the server does not bill: images that it refused."""
        if self.price is not None:
            with self._lock:
                self._most -= count * self.price


class Received:
    """The answers of one shard, by prompt and seed. Threads may use it side by side.

    Without a journal, answers are held until ``used``, so that a request that is repeated within a process is not sent
    again.
    """

    def __init__(self, journal: Journal | None = None, spending: Spending | None = None) -> None:
        self._journal = journal
        self._spending = spending or Spending()
        self._lock = threading.Lock()
        self._closed = False
        self._stored: dict[Key, list[tuple[Record, int, ReceivedImage]]] = {}
        self._held: dict[Key, list[Answer]] = {}
        self._failures: dict[int, list[SampleNote]] = {}
        self._last: tuple[Record, bytes | None] | None = None
        if journal is not None:
            for lost in journal.lost:
                _log.warning("memcore: %s: what they held was received and is asked for again", lost)
            for record in journal.records:
                self._index(record)

    def answers(self, request: Request) -> list[Answer]:
        """Return what came of an image so far, in the order in which it came."""
        key = (request.prompt_id, request.seed)
        with self._lock:
            held = self._held.get(key)
            if held is None:
                stored = (self._read(*place) for place in self._stored.pop(key, ()))
                held = self._held[key] = [answer for answer in stored if answer is not None]
            return list(held)

    def ask(self, requests: Sequence[Request]) -> str:
        """Note that images are about to be asked for, and return the number of that. Raises StoppedError."""
        self._spending.reserve(len(requests))
        number = secrets.token_hex(8)
        if self._spending.price is not None:
            keys = [[r.prompt_id, r.seed] for r in requests]
            self._append({"asked": number, "images": keys, "price": str(self._spending.price)}, [])
        return number

    def put(self, number: str, requests: Sequence[Request], answers: Sequence[Answer]) -> None:
        """Keep what came of each image; it is durable when this returns. Images without a picture are not billed."""
        images = [_describe(r, a) for r, a in zip(requests, answers, strict=True)]
        self._append({"answered": number, "images": images}, [a.data for a in answers if a.data])
        with self._lock:
            for request, answer in zip(requests, answers, strict=True):
                self._held.setdefault((request.prompt_id, request.seed), []).append(answer)
        self._spending.release(sum(not a.kind for a in answers))

    def fail(self, number: str, requests: Sequence[Request], code: str, detail: str, *, billed: bool) -> None:
        """Keep that a request brought nothing; ``billed``: for all that is known, the server may bill it."""
        prompts = sorted({r.prompt_id for r in requests})
        self._append(
            {"failed": number, "prompts": prompts, "code": code, "detail": detail, "billed": billed}, []
        )
        with self._lock:
            self._note_failure(prompts, code, detail)
        if not billed:
            self._spending.release(len(requests))

    def failures(self, prompt_ids: Iterable[int]) -> list[SampleNote]:
        """Return the failed requests of prompts, once."""
        with self._lock:
            return [note for prompt_id in prompt_ids for note in self._failures.pop(prompt_id, ())]

    def used(self, requests: Iterable[Request]) -> None:
        """Forget the bytes of images that are not needed any more. On the disk they stay."""
        with self._lock:
            for request in requests:
                self._held.pop((request.prompt_id, request.seed), None)

    def close(self) -> None:
        """Write nothing more: answers that still come are those of a process that ends."""
        with self._lock:
            self._closed = True
            if self._journal is not None:
                self._journal.close()
                self._journal.sync()

    def _append(self, head: Mapping[str, Any], payload: Sequence[bytes]) -> None:
        with self._lock:
            if self._closed:
                raise StoppedError("the run is being stopped")
            if self._journal is None:
                return
            self._journal.append(head, payload)
            local = isinstance(self._journal.storage, LocalStorage)
            if self._journal.unsynced > (_SEGMENT_BYTES if local else _OBJECT_BYTES):
                self._journal.sync()

    def _index(self, record: Record) -> None:
        head = record.head
        if "answered" in head:
            start = 0
            for image in head["images"]:
                self._stored.setdefault((image["prompt_id"], image["seed"]), []).append(
                    (record, start, image)
                )
                start += image["length"]
        elif "failed" in head:
            self._note_failure(head["prompts"], head["code"], head["detail"])
        elif "forgotten" in head:
            self._forget(set(head["forgotten"]))

    def _forget(self, prompt_ids: Collection[int]) -> None:
        """Leave out what brought no picture of these prompts, so that it is asked for again."""
        for prompt_id in prompt_ids:
            self._failures.pop(prompt_id, None)
        for key in [key for key in self._stored if key[0] in prompt_ids]:
            self._stored[key] = [place for place in self._stored[key] if place[2]["kind"]]

    def _note_failure(self, prompt_ids: Iterable[int], code: str, detail: str) -> None:
        for prompt_id in prompt_ids:
            self._failures.setdefault(prompt_id, []).append(SampleNote(prompt_id, code, detail))

    def _read(self, record: Record, start: int, image: ReceivedImage) -> Answer | None:
        """Return an answer from the journal; None if its bytes are not what was received."""
        data = b""
        if image["length"]:
            assert self._journal is not None
            if self._last is None or self._last[0] is not record:
                self._last = record, self._journal.read(record)
            whole = self._last[1]
            data = b"" if whole is None else whole[start : start + image["length"]]
            if hashlib.sha256(data).hexdigest() != image["sha256"]:
                _log.warning(
                    "memcore: the answer for seed %d of prompt %d is damaged on the disk; it is asked for again",
                    image["seed"],
                    image["prompt_id"],
                )
                return None
        return Answer(
            image["kind"],
            data,
            image.get("flagged", False),
            image.get("code", ""),
            image.get("detail", ""),
            image.get("final", False),
        )


def _describe(request: Request, answer: Answer) -> ReceivedImage:
    image: ReceivedImage = {
        "prompt_id": request.prompt_id,
        "seed": request.seed,
        "kind": answer.kind,
        "length": len(answer.data),
        "sha256": hashlib.sha256(answer.data).hexdigest() if answer.data else "",
    }
    if answer.flagged:
        image["flagged"] = True
    if answer.code:
        image["code"], image["detail"] = answer.code, answer.detail
    if answer.final:
        image["final"] = True
    return image


def forget_failures(journal: Journal, prompt_ids: Iterable[int]) -> None:
    """Have what brought no picture of these prompts asked for again; pictures that were received stay."""
    if journal.records:
        journal.append({"forgotten": sorted(prompt_ids)}, [])
        journal.sync()


def count_spent(records: Iterable[Record]) -> Spent:
    """Return what the records of a journal say was received and spent."""
    images = unanswered = 0
    cost = unanswered_cost = None
    open_: dict[str, tuple[int, Decimal]] = {}
    for record in records:
        head = record.head
        if "asked" in head:
            open_[head["asked"]] = len(head["images"]), Decimal(head["price"])
            cost = cost or Decimal()
        elif "answered" in head:
            came = sum(bool(image["kind"]) for image in head["images"])
            images += came
            if (asked := open_.pop(head["answered"], None)) is not None:
                cost = (cost or Decimal()) + came * asked[1]
        elif "failed" in head and not head["billed"]:
            open_.pop(head["failed"], None)
    for count, price in open_.values():
        unanswered += count
        unanswered_cost = (unanswered_cost or Decimal()) + count * price
    return Spent(images, unanswered, cost, unanswered_cost)
