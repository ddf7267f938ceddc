// The whole shop on one page: everything comes from /rest/v1 and /auth/v1, nothing from a server of our own.
const $ = (id) => document.getElementById(id);
const store = {
  get session() { return JSON.parse(localStorage.session ?? 'null'); },
  set session(value) { value ? (localStorage.session = JSON.stringify(value)) : localStorage.removeItem('session'); },
  get cart() { return localStorage.cart; },
  set cart(id) { id ? (localStorage.cart = id) : localStorage.removeItem('cart'); },
};

async function call(path, { method = 'GET', body, headers = {} } = {}) {
  const send = () => fetch(path, {
    method,
    headers: {
      ...(body && { 'content-type': 'application/json' }),
      ...(store.session && !path.startsWith('/auth/v1/token') && { authorization: `Bearer ${store.session.access_token}` }),
      ...headers,
    },
    body: body && JSON.stringify(body),
  });
  let response = await send();
  if (response.status === 401 && store.session && !path.startsWith('/auth/')) {
    store.session = await call('/auth/v1/token?grant_type=refresh_token', { method: 'POST', body: { refresh_token: store.session.refresh_token } }).catch(() => null);
    response = await send();
  }
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  if (response.ok) return answer;
  // The CHECK on products.stock is what stops a check-out: say it in the words of a shop.
  const message = answer?.message?.includes('products_stock_check') ? 'There is not that much left of something in your cart.' : answer?.message ?? answer?.msg;
  throw Object.assign(new Error(message ?? response.statusText), { status: response.status, code: answer?.code });
}
const rpc = (name, body = {}, headers) => call(`/rest/v1/rpc/${name}`, { method: 'POST', body, headers });

const money = (n) => Number(n).toLocaleString(undefined, { style: 'currency', currency: 'EUR' });
const element = (tag, text, props = {}) => Object.assign(document.createElement(tag), { textContent: text, ...props });
function row(...cells) { const li = element('li', ''); li.append(...cells.map((c) => (typeof c === 'string' ? element('span', c) : c))); return li; }
function say(text, bad = false) { $('message').textContent = text; $('message').className = bad ? 'bad' : ''; }
const quiet = (text) => element('li', text, { className: 'quiet' });
// A dialog that is left by Escape keeps what it returned before, in some browsers.
const ask = () => { $('login').returnValue = ''; $('login').showModal(); };
const guarded = (work) => (...args) => work(...args).catch((error) => say(error.message, true));

let category = null;
const products = guarded(async () => {
  const words = $('search').value.trim();
  const filter = category ? `&category=eq.${encodeURIComponent(category)}` : '';
  const list = words
    ? await rpc(`search_products?limit=60${filter}`, { query: words })
    : await call(`/rest/v1/products?select=id,name,description,price,stock&order=name,id&limit=60${filter}`);
  if (!list.length) return $('products').replaceChildren(element('p', 'Nothing found. Every word must appear in the name or the description.'));
  $('products').replaceChildren(...list.map((p) => {
    const card = element('article', '');
    const foot = element('footer', '');
    foot.append(element('b', money(p.price)), element('button', p.stock ? 'Add' : 'Sold out', { disabled: !p.stock, onclick: () => add(p.id) }));
    card.append(element('strong', p.name), element('p', p.description), element('small', `${p.stock} in stock`), foot);
    return card;
  }));
});

const cart = guarded(async () => {
  const lines = store.cart ? await rpc('cart_contents', { cart: store.cart }) : [];
  $('cart').replaceChildren(...lines.map((l) => row(`${l.quantity} × ${l.name}`, money(l.amount))));
  $('total').textContent = lines.length ? `Together ${money(lines.reduce((sum, l) => sum + Number(l.amount), 0))}` : 'Empty.';
  $('buy').disabled = !lines.length;
});

const add = guarded(async (product) => {
  say('');
  store.cart ??= (await rpc('new_cart'))[0].id;
  const added = await rpc('add_to_cart', { cart: store.cart, product });
  if (!added.length) {                                       // that cart was bought or merged elsewhere
    store.cart = (await rpc('new_cart'))[0].id;
    await rpc('add_to_cart', { cart: store.cart, product });
  }
  await cart();
});

const mine = guarded(async () => {
  $('account').textContent = store.session ? `${store.session.user.email} · log out` : 'Log in';
  const [orders, mails] = store.session
    ? await Promise.all([call('/rest/v1/orders?select=total,status,placed_at&order=placed_at.desc&limit=5'), call('/rest/v1/mails?select=subject,created_at&order=created_at.desc')])
    : [[], []];
  const none = quiet(store.session ? 'Nothing yet.' : 'Log in to see yours.');
  const fill = (id, rows) => $(id).replaceChildren(...(rows.length ? rows : [none.cloneNode(true)]));
  fill('orders', orders.map((o) => row(money(o.total), element('b', o.status, { className: o.status }))));
  fill('mails', mails.map((m) => row(m.subject)));
});

$('buy').onclick = guarded(async () => {
  say('');
  if (!store.session) return ask();
  const [order] = await rpc('checkout', { cart: store.cart, card: $('card').value }, { 'idempotency-key': `checkout-${store.cart}` });
  if (!order) throw new Error('This cart is not yours.');
  store.cart = null;
  say(`Thank you: ${money(order.total)}.`);
  await Promise.all([cart(), mine(), products()]);
});

$('account').onclick = guarded(async () => {
  say('');
  if (!store.session) return ask();
  await call('/auth/v1/logout', { method: 'POST' }).catch(() => {});
  store.session = store.cart = null;
  await Promise.all([cart(), mine()]);
});

$('login').onclose = guarded(async () => {
  const how = $('login').returnValue;
  if (!how) return;
  const { email, password } = Object.fromEntries(new FormData($('login').querySelector('form')));
  store.session = await call(how === 'signup' ? '/auth/v1/signup' : '/auth/v1/token?grant_type=password', { method: 'POST', body: { email, password } });
  const [own] = store.cart ? await rpc('merge_cart', { guest: store.cart }) : await rpc('new_cart');
  store.cart = own?.id;
  say(`Hello, ${email}.`);
  await Promise.all([cart(), mine()]);
});

$('search').oninput = () => { clearTimeout(products.timer); products.timer = setTimeout(products, 150); };
const categories = guarded(async () => {
  const list = await call('/rest/v1/categories?select=category,products&order=category');
  $('categories').replaceChildren(...list.map((c) => element('button', `${c.category} ${c.products}`, {
    onclick: (event) => {
      category = category === c.category ? null : c.category;
      for (const b of $('categories').children) b.ariaPressed = String(b === event.target && category !== null);
      products();
    },
  })));
});

await Promise.all([categories(), products(), cart(), mine()]);
setInterval(() => store.session && mine(), 3000);
