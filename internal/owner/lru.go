package owner

import "container/list"

// lru is a map that forgets what was used least recently once it holds more
// than size values, or more than bytes of them.
type lru[K comparable, V any] struct {
	size, bytes int
	weigh       func(V) int
	total       int
	order       *list.List // of *item[K, V], most recent first
	at          map[K]*list.Element
}

type item[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

func newLRU[K comparable, V any](size, bytes int, weigh func(V) int) *lru[K, V] {
	return &lru[K, V]{size: size, bytes: bytes, weigh: weigh, order: list.New(), at: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(k K) (V, bool) {
	el, ok := l.at[k]
	if !ok {
		var none V
		return none, false
	}
	l.order.MoveToFront(el)
	return el.Value.(*item[K, V]).value, true
}

func (l *lru[K, V]) put(k K, v V) {
	if el, ok := l.at[k]; ok {
		l.remove(el)
	}
	p := &item[K, V]{key: k, value: v, weight: l.weigh(v)}
	l.at[k] = l.order.PushFront(p)
	l.total += p.weight
	for l.order.Len() > 1 && (l.order.Len() > l.size || l.total > l.bytes) {
		l.remove(l.order.Back())
	}
}

func (l *lru[K, V]) remove(el *list.Element) {
	p := l.order.Remove(el).(*item[K, V])
	delete(l.at, p.key)
	l.total -= p.weight
}

func (l *lru[K, V]) len() int { return l.order.Len() }
