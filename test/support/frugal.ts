// Most of a test run's time goes to labs, whose Go programs live for seconds: a heap that grows three times as far
// saves a third of that time. Tests wait for events and not for a time: mocha's limit ends a test that hangs.
process.env.GOGC ??= "300";
