package event

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDecimalPrintsAllDigitsOfItsScale(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unscaled, scale := rapid.Int64().Draw(t, "unscaled"), rapid.IntRange(0, 30).Draw(t, "scale")
		exact := new(big.Rat).SetFrac(big.NewInt(unscaled), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		require.Equal(t, exact.FloatString(scale), Decimal{Unscaled: big.NewInt(unscaled), Scale: scale}.String())
	})
}
