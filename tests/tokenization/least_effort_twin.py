"""The Less-is-Better learner in plain Python, as its description reads: lists, dictionaries, step by step."""

import math

_MASK = 2**64 - 1


class Twin:
    """Same documents, rules and seed as a `Learner`; `entries` is the lexicon by priority, a frame being a pair."""

    def __init__(self, documents, rules, seed):
        self.documents, self.rules, self.state = documents, rules, seed & _MASK
        first = documents.symbols[: documents.ends[documents.starts[min(10, len(documents))]]]
        self.entries = list(documents.alphabet[: int(first.max()) + 1])
        self.life = dict.fromkeys(self.entries, rules.life)
        self.taught_by = {}

    def uniform(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53

    def matches(self, sentence, at):
        """Longest and second-longest match, "" where there is none."""
        lengths = range(1, min(self.rules.max_length, len(sentence) - at) + 1)
        found = [sentence[at : at + n] for n in lengths if sentence[at : at + n] in self.place]
        return (found[-1] if found else ""), (found[-2] if len(found) > 1 else "")

    def step(self):
        data, ends = self.documents.document(int(self.uniform() * len(self.documents)))
        text = "".join(self.documents.alphabet[s] for s in data.tolist())
        self.place = {entry: i for i, entry in enumerate(self.entries)}
        self.signs, self.seen = {}, set()
        for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            self.read(text[start:stop])
        self.settle()

    def read(self, sentence):
        at, chunks = 0, []
        last, known = "", False
        while at < len(sentence):
            chunk, second = self.matches(sentence, at)
            chunks.append((at, chunk or sentence[at], chunk, second))
            if not chunk:
                last, known = ("" if known else last) + sentence[at], False
                at += 1
                continue
            wanted = ""
            if self.uniform() < self.rules.memory_in:
                if known and len(last + chunk) <= self.rules.max_length:
                    wanted = last + chunk
                elif not known and 0 < len(last) <= self.rules.max_gap:
                    wanted = last
            if not self.rules.across_words and " " in wanted[1:]:
                wanted = ""
            if wanted and wanted not in self.place:
                if wanted in self.seen:
                    self.place[wanted] = len(self.entries)
                    self.entries.append(wanted)
                self.seen.add(wanted)
            if not second:
                self.life.pop(chunk, None)
            last, known = chunk, True
            at += len(chunk)
        for at, chunk, entry, second in chunks:
            if second:
                self.examine(sentence, chunks, (at, chunk, entry, second))
        if self.rules.gaps != "off":
            self.look_through_frames([chunk for _, chunk, _, _ in chunks])

    def append(self, entry):
        self.place[entry] = len(self.entries)
        self.entries.append(entry)

    def look_through_frames(self, chunks):
        framed = ["", *chunks, ""]
        for frame in zip(framed[:-2], framed[2:], strict=True):
            if self.uniform() < self.rules.memory_in**2 and frame not in self.place:
                if frame in self.seen:
                    self.append(frame)
                self.seen.add(frame)
        limit = min(self.rules.longest_filler, self.rules.max_length)
        for k in range(len(chunks) + 1):
            seconds = {f[1] for f in self.place if isinstance(f, tuple) and f[0] == framed[k]}
            if not seconds:
                continue
            found = [j for j in range(k + 1, len(framed)) if framed[j] in seconds]
            if not found or found[0] == k + 1:
                if self.rules.gaps == "published":
                    return
                continue
            filler = "".join(framed[k + 1 : found[0]])
            if found[0] == k + 2 or len(filler) > limit or self.uniform() >= self.rules.memory_in:
                continue
            if filler in self.place or (not self.rules.across_words and " " in filler[1:]):
                continue
            self.append(filler)
            self.taught_by[filler] = (framed[k], framed[found[0]])

    def examine(self, sentence, chunks, tested):
        at, chunk, entry, second = tested
        other, end = at + len(second), at + len(chunk)
        ours = [c for c in chunks if c[0] >= at]
        theirs, n_ours = [second], 1
        while other != end:
            if other < end:
                found, _ = self.matches(sentence, other)
                theirs.append(found)
                other += max(1, len(found))
            else:
                end += len(ours[n_ours][1])
                n_ours += 1
        sides = []
        for side in ([c[2] for c in ours[:n_ours]], theirs):
            sides.append((side.count(""), sum(map(bool, side)), sum(self.place[c] for c in side if c)))
        if sides[1] < sides[0]:
            self.signs[entry] = self.signs.get(entry, 0) + 1
            self.signs[second] = self.signs.get(second, 0) - 1
        else:
            self.signs[entry] = self.signs.get(entry, 0) - 1
            self.life.pop(entry, None)

    def settle(self):
        told = [(frame, self.signs.get(filler, 0)) for filler, frame in self.taught_by.items()]
        for frame, sign in told:
            self.signs[frame] = self.signs.get(frame, 0) + sign
        n, keyed = len(self.entries), []
        for i, entry in enumerate(self.entries):
            sign = self.signs.get(entry, 0)
            place = i
            for _ in range(abs(sign)):
                if sign > 0 and place >= n:
                    break
                by = math.floor(place * self.rules.update_rate) + 1 if place > 0 or sign > 0 else 1
                place += by if sign > 0 else -by
            keyed.append((place, (sign > 0) - (sign < 0), i, entry))
        for entry in list(self.life):
            self.life[entry] -= 1
        gone = {entry for place, _, _, entry in keyed if place >= n}
        gone |= {entry for entry, left in self.life.items() if left <= 1}
        self.entries = [entry for *_, entry in sorted(keyed) if entry not in gone]
        self.life = {entry: left for entry, left in self.life.items() if entry not in gone}
        self.taught_by = {f: frame for f, frame in self.taught_by.items() if f not in gone and frame not in gone}
        m = len(self.entries)
        for entry in self.entries[min(m - 1, int((1 - self.rules.memory_out) * m)) :] if m else []:
            self.life.setdefault(entry, self.rules.life)
