package sfu

// layerRank orders the simulcast layers of a track from small to large. The client names them q, h and
// f; whatever other encoders call theirs ranks below, by name.
func layerRank(rid string) int {
	switch rid {
	case "f":
		return 3
	case "h":
		return 2
	case "q":
		return 1
	default:
		return 0
	}
}

// How many videos a subscriber can have before each is forwarded smaller.
const (
	fewVideos  = 4
	manyVideos = 9
)

// chooseLayer picks which of a track's layers a subscriber gets: the largest while there are few
// videos, a middle one while there are not too many, else the smallest. live says, from the smallest
// layer up, which are being sent; the nearest smaller live one stands in for one that is not, else the
// nearest larger. Without any live layer the wish itself is returned, -1 if there are no layers.
func chooseLayer(live []bool, videos int) int {
	wish := len(live) - 1
	switch {
	case videos > manyVideos:
		wish = min(wish, 0)
	case videos > fewVideos:
		wish /= 2
	}
	for i := wish; i >= 0; i-- {
		if live[i] {
			return i
		}
	}
	for i := wish + 1; i < len(live); i++ {
		if live[i] {
			return i
		}
	}
	return wish
}
