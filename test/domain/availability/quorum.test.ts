import assert from "node:assert/strict";
import {
  quorumOf,
  controlPlaneUnhealthyReason,
  mayLeaveAsDead,
  whyMembersAreNot,
  whyServerMayNotJoin,
  whyServerMayNotLeave,
  type Server,
} from "../../../src/domain/availability/quorum.ts";

/** `V` voter, `L` learner, `N` none; `+` healthy, `-` unhealthy, `?` unknown; `o` with its Node, `x` without. */
type State = `${"V" | "L" | "N"}${"+" | "-" | "?"}${"o" | "x"}`;

const PARTS = { V: "voter", L: "learner", N: "none" } as const;
const HEALTH = { "+": "healthy", "-": "unhealthy", "?": "unknown" } as const;
const STATES = ["V", "L", "N"].flatMap((part) =>
  ["+", "-", "?"].flatMap((health) => ["o", "x"].map((node) => `${part}${health}${node}` as State)),
);

/** Servers a, b, c, ... in the states that are named, blanks between them. */
function control(states: string): Server[] {
  const names = states.split(" ").filter((state) => state !== "");
  return names.map((state, i) => server(state as State, String.fromCharCode(97 + i)));
}

function server(state: State, name: string): Server {
  const [part, health, node] = state as unknown as [keyof typeof PARTS, keyof typeof HEALTH, "o" | "x"];
  return { name, member: PARTS[part], health: HEALTH[health], node: node === "o" };
}

describe("a server that would join", () => {
  const cases: [string, string, string | undefined][] = [
    ["three healthy voters", "V+o V+o V+o", undefined],
    ["five healthy voters", "V+o V+o V+o V+o V+o", undefined],
    ["two healthy voters: a control plane that grows", "V+o V+o", undefined],
    ["one voter", "V+o", "a is the only voter, and of two voters neither may fail"],
    ["nobody", "", "no voter of etcd is known"],
    ["one of three is dead", "V+o V+o V-o", "c is a voter and not healthy"],
    ["one of four is dead: etcd refuses too", "V+o V+o V+o V-o", "d is a voter and not healthy"],
    ["nobody knows how one is", "V+o V+o V?o", "whether c is healthy is not known"],
    ["another one is joining", "V+o V+o V+o L+o", "d is a learner: its join is not over"],
    ["a join failed", "V+o V+o V+o L-x", "d is a learner without a Node: its join is not over"],
    ["a Node was deleted by hand", "V+o V+o V+x", "c is a voter without a Node"],
    ["a removal is not over", "V+o V+o V+o N-o", "d is no member of etcd and still has its Node"],
    ["what is neither", "V+o V+o V+o N+x", "d is no member of etcd and has no Node"],
    [
      "everything at once",
      "V-o V?o L-x",
      "whether b is healthy is not known; c is a learner without a Node: its join is not over; a is a voter and not healthy",
    ],
  ];
  for (const [what, states, why] of cases) {
    it(`${why === undefined ? "may" : "may not"}: ${what}`, () =>
      assert.equal(whyServerMayNotJoin("new", control(states)), why));
  }

  it("may make one voter two when somebody answers for it", () => {
    assert.equal(whyServerMayNotJoin("new", control("V+o"), "accepted"), undefined);
    assert.equal(whyServerMayNotJoin("new", control("V-o"), "accepted"), "a is a voter and not healthy");
  });

  it("may not have the name of a member", () => {
    assert.equal(whyServerMayNotJoin("b", control("V+o V+o V+o")), "b is a member already");
  });
});

describe("a server that would leave", () => {
  const cases: [string, string, string, number, string | undefined][] = [
    ["one of four, three are wanted", "V+o V+o V+o V+o", "a", 3, undefined],
    ["one of six, five are wanted", "V+o V+o V+o V+o V+o V+o", "f", 5, undefined],
    ["one of two, one is wanted", "V+o V+o", "a", 1, undefined],
    ["one of three, three are wanted", "V+o V+o V+o", "a", 3, "2 healthy voters would stay, and 3 are wanted"],
    ["the last", "V+o", "a", 1, "a is the last voter"],
    ["the last, and dead", "V-o", "a", 1, "etcd has no quorum: 0 of 1 voters are healthy, and 1 are needed"],
    ["the dead one of four", "V+o V+o V+o V-o", "d", 3, undefined],
    ["the dead one of three, whose successor etcd refuses while it is there", "V+o V+o V-o", "c", 3, undefined],
    ["the dead one whose Node is gone", "V+o V+o V+o V-x", "d", 3, undefined],
    ["a healthy one while another is dead", "V+o V+o V+o V+o V-o", "a", 3, "e is a voter and not healthy"],
    ["one of two dead ones", "V+o V+o V+o V-o V-o", "e", 3, "d is a voter and not healthy"],
    ["the ill one of two, beside which the other serves", "V+o V-o", "b", 3, undefined],
    [
      "the one that serves of two",
      "V+o V-o",
      "a",
      1,
      "b is a voter and not healthy; etcd has no quorum: 1 of 2 voters are healthy, and 2 are needed",
    ],
    [
      "one of two when neither serves",
      "V-o V-o",
      "b",
      1,
      "a is a voter and not healthy; etcd has no quorum: 0 of 2 voters are healthy, and 2 are needed",
    ],
    [
      "a learner beside an ill one of two",
      "V+o V-o L-o",
      "c",
      1,
      "etcd has no quorum: 1 of 2 voters are healthy, and 2 are needed",
    ],
    ["one whose health is not known", "V+o V+o V+o V?o", "d", 3, "whether d is healthy is not known"],
    ["one beside a learner", "V+o V+o V+o V+o L+o", "a", 3, "e is a learner: its join is not over"],
    ["a learner that failed", "V+o V+o V+o L-o", "d", 3, undefined],
    ["a learner beside a dead voter", "V+o V+o V-o L-x", "d", 3, undefined],
    [
      "a learner, without quorum",
      "V+o V-o V-o L-x",
      "d",
      3,
      "etcd has no quorum: 1 of 3 voters are healthy, and 2 are needed",
    ],
    ["one of two learners", "V+o V+o V+o L-x L-x", "d", 3, "e is a learner without a Node: its join is not over"],
    ["one whose removal is over", "V+o V+o V+o N+o", "d", 3, "d is not a member of etcd"],
    ["a stranger", "V+o V+o V+o", "z", 3, "z is not a member of etcd"],
  ];
  for (const [what, states, name, wanted, why] of cases) {
    it(`${why === undefined ? "may" : "may not"}: ${what}`, () =>
      assert.equal(whyServerMayNotLeave(name, control(states), wanted), why));
  }

  const asDead: [string, string, string, number, boolean][] = [
    ["a voter that does not serve, and is one of the wanted ones", "V+o V+o V-o", "c", 3, true],
    ["a voter that does not serve beside enough others", "V+o V+o V+o V-o", "d", 3, false],
    ["a voter that serves", "V+o V+o V+o", "a", 3, false],
    ["a voter of which nothing is known", "V+o V+o V?o", "c", 3, false],
    ["a learner", "V+o V+o L-o", "c", 3, false],
    ["a voter beside a dead one", "V+o V+o V-o V-o V+o", "c", 5, false],
    ["the ill one of two", "V+o V-o", "b", 2, true],
  ];
  for (const [what, states, name, wanted, may] of asDead)
    it(`${may ? "may only" : "is not to"} leave as dead: ${what}`, () =>
      assert.equal(mayLeaveAsDead(name, control(states), wanted), may));

  it("is not told from another of its name", () => {
    const servers = [...control("V+o V+o V+o V+o"), server("V-o", "a")];
    assert.equal(whyServerMayNotLeave("a", servers, 3), "2 servers are called a; a is a voter and not healthy");
    assert.equal(whyServerMayNotJoin("new", control("V+o V+o").concat(server("V+o", "b"))), "2 servers are called b");
  });

  it("stays when the wanted number is no number", () => {
    assert.ok(whyServerMayNotLeave("a", control("V+o V+o V+o V+o"), Number.NaN));
  });
});

describe("etcd's members", () => {
  const cases: [string, string, string, string | undefined][] = [
    ["as expected", "V+o V+o V+o", "a b c", undefined],
    ["in any order, however they are", "V-o V?x V+o", "c a b", undefined],
    ["with a Node that is no member", "V+o V+o N+o", "a b", undefined],
    ["one too few", "V+o V+o", "a b c", "c has to be a member of etcd and is none"],
    ["one that left and has its Node", "V+o V+o N+o", "a b c", "c has to be a member of etcd and is none"],
    ["one that learns", "V+o V+o L+o", "a b c", "c has to be a voter and is a learner"],
    ["a stranger", "V+o V+o V+o", "a b", "c is a voter of etcd and nobody expects it"],
    ["a strange learner", "V+o V+o L-x", "a b", "c is a learner of etcd and nobody expects it"],
    [
      "another one",
      "V+o V+o",
      "a z",
      "z has to be a member of etcd and is none; b is a voter of etcd and nobody expects it",
    ],
  ];
  for (const [what, states, expected, why] of cases) {
    it(`are ${why === undefined ? "right" : "wrong"}: ${what}`, () =>
      assert.equal(whyMembersAreNot(expected.split(" "), control(states)), why));
  }

  it("are wrong when one is listed twice", () => {
    const servers = [...control("V+o V+o"), server("V+o", "b")];
    assert.equal(whyMembersAreNot(["a", "b"], servers), "2 servers are called b");
  });
});

/** Every control plane of up to `most` servers, each once whatever the order; the rules see no order. */
function* controlPlanes(most: number, from = 0, begun: Server[] = []): Generator<Server[]> {
  yield begun;
  if (begun.length === most) return;
  for (const [i, state] of STATES.entries()) {
    if (i >= from) yield* controlPlanes(most, i, [...begun, server(state, `s${begun.length}`)]);
  }
}

/** One server of each state: its equals are in the same position. */
function kinds(servers: readonly Server[]): Server[] {
  const isFirst = (one: Server, i: number) => {
    const before = servers[i - 1];
    return before?.member !== one.member || before.health !== one.health || before.node !== one.node;
  };
  return servers.filter(isFirst);
}

/** What the rules must be, counted and not worded: nothing here calls the code under test. */
function count(servers: readonly Server[]) {
  const number = (is: (one: Server) => boolean) => servers.filter(is).length;
  return {
    voters: number((one) => one.member === "voter"),
    healthy: number((one) => one.member === "voter" && one.health === "healthy"),
    learners: number((one) => one.member === "learner"),
    unknown: number((one) => one.health === "unknown"),
    /** Member without Node, Node without member, or neither. */
    torn: number((one) => one.member === "none" || !one.node),
  };
}

type Counts = ReturnType<typeof count>;

/** Serves now, and serves on when a server more counts as a voter and never comes up. */
const survivesJoin = ({ voters, healthy }: Counts) => healthy >= Math.floor((voters + 1) / 2) + 1;
/** A server that serves has quorum behind it, whatever it looks like from outside. */
const isIllOfTwo = ({ voters, healthy }: Counts, { member, health }: Server) =>
  voters === 2 && healthy === 1 && member === "voter" && health === "unhealthy";
const hasQuorum = ({ voters, healthy }: Counts) => voters > 0 && healthy > voters / 2;

describe("every control plane of up to seven servers", function () {
  // 480,700 of them.
  this.timeout(300_000);

  it("lets a server join only where nothing is in doubt, and then always", () => {
    let allowed = 0;
    for (const servers of controlPlanes(7)) {
      const at = count(servers);
      const calm = at.healthy === servers.length && at.voters > 0 && at.torn === 0;
      const may = whyServerMayNotJoin("new", servers) === undefined;
      const mayBeSecond = whyServerMayNotJoin("new", servers, "accepted") === undefined;
      const isCalm = controlPlaneUnhealthyReason(servers) === undefined;
      if (isCalm !== calm || mayBeSecond !== calm || may !== (calm && at.voters > 1)) assert.fail(shown(servers));
      if (!may) continue;
      allowed += 1;
      assert.ok(survivesJoin(at), `the new server never comes up: ${shown(servers)}`);
      assert.equal(at.learners + at.unknown + at.torn, 0, shown(servers));
    }
    assert.equal(allowed, 6, "two to seven healthy voters");
  });

  it("lets a server leave only where nothing is lost with it", () => {
    let allowed = 0;
    for (const servers of controlPlanes(7)) {
      const before = count(servers);
      // Where something is not known nobody may leave: asked with the smallest wish, which allows most.
      const wishes = before.unknown > 0 ? [1] : [1, 2, 3, 4, 5, 6, 7];
      for (const departing of kinds(servers)) {
        for (const wanted of wishes) {
          if (whyServerMayNotLeave(departing.name, servers, wanted) !== undefined) continue;
          allowed += 1;
          const after = count(servers.filter((one) => one !== departing));
          const what = `${departing.name} leaves, ${wanted} wanted: ${shown(servers)}`;
          assert.ok((hasQuorum(before) || isIllOfTwo(before, departing)) && hasQuorum(after), what);
          assert.equal(before.unknown, 0, what);
          assert.equal(after.learners + after.torn, 0, `another change is open: ${what}`);
          const serves = departing.member === "voter" && departing.health === "healthy";
          assert.ok(after.healthy >= (serves ? wanted : before.healthy), `too few stay: ${what}`);
          if (departing.member === "voter") assert.equal(after.healthy, after.voters, `not the only dead one: ${what}`);
        }
      }
    }
    // And always there. With and without its Node: a healthy one of n, for 1 to n-1 wanted ones; the dead one of two to
    // seven, whatever is wanted. Learners in four states, beside voters that have quorum: 1 + 1 + 2 + 2 + 3 + 3 ways.
    assert.equal(allowed, 2 * (1 + 2 + 3 + 4 + 5 + 6) + 2 * 6 * 7 + 4 * 12 * 7);
  });

  it("never leaves a control plane without a next step, as long as at most one server is ill", () => {
    for (let voters = 2; voters <= 7; voters += 1) {
      for (const [ill, nobody] of [["V-o"], ["V-x"], ["L-o"], ["L-x"], ["", true]] as [string, true?][]) {
        const servers = control(`${"V+o ".repeat(ill.startsWith("V") ? voters - 1 : voters)}${ill}`);
        const last = servers.at(-1)?.name ?? "";
        const why = nobody ? whyServerMayNotJoin("new", servers) : whyServerMayNotLeave(last, servers, voters);
        assert.equal(why, undefined, shown(servers));
      }
    }
  });

  it("may lose any one server after every change of a whole replacement, but for one that is alone", () => {
    for (const wanted of [3, 5, 7]) {
      let servers = control("V+o ".repeat(wanted));
      for (let slot = 0; slot < wanted; slot += 1) {
        assert.equal(whyServerMayNotJoin(`new${slot}`, servers), undefined);
        servers = [...servers, server("V+o", `new${slot}`)];
        const old = servers[0]?.name ?? "";
        assert.equal(whyServerMayNotLeave(old, servers, wanted), undefined);
        servers = servers.slice(1);
        assert.ok(servers.length - 1 >= quorumOf(servers.length));
      }
      assert.equal(
        whyMembersAreNot(
          Array.from({ length: wanted }, (_, slot) => `new${slot}`),
          servers,
        ),
        undefined,
      );
    }
  });
});

function shown(servers: readonly Server[]): string {
  return servers.map((one) => `${one.name} ${one.member} ${one.health} ${one.node ? "" : "no "}Node`).join(", ");
}
