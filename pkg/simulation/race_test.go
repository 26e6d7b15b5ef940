//go:build race

package simulation

// seeds is how many the race detector, which is slow, has time for.
const seeds = 100
