// Most of a run's time goes to labs, whose Go programs live for seconds: a heap that grows three times as far spares them a third of
// it. Tests wait for events, never for a time: the limit of mocha ends what hangs.
process.env.GOGC ??= "300";
