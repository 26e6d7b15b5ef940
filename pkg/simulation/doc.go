// Package simulation holds tests alone: several members of the group, the external
// systems and a checker, in one process under virtual time. The members are engines,
// with a log and a coordinator of the simulation's own, or, with the build tag
// synctests, the whole service, with brokers in memory. A seed draws every fault and its moment; the checker compares what
// came of it with what is promised. docs/simulation.md tells how to read and repeat
// a failure.
//
// What a single rule of the engine does is for the tests beside it to say.
package simulation
