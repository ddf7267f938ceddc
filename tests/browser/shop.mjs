// Somebody at the shop's page: looks round, buys as a guest who registers, comes back, and is refused a card.
//   CHROMIUM=/usr/bin/chromium node shop.mjs http://127.0.0.1:8080
import assert from 'node:assert/strict';
import puppeteer from 'puppeteer-core';

const [url] = process.argv.slice(2);
const email = 'ada@example.org', password = 'correct horse';

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--no-sandbox', '--disable-dev-shm-usage'], // where root runs tests, in a container
});
const page = await browser.newPage();
page.setDefaultTimeout(20_000);

// What went wrong in the page itself, and what was refused: nothing but what is expected of a step.
const complaints = [];
page.on('pageerror', (error) => complaints.push(`error: ${error.message}`));
page.on('response', (response) => response.status() >= 400 && complaints.push(`${response.status()} ${new URL(response.url()).pathname}`));
page.on('requestfailed', (request) => complaints.push(`failed: ${request.url()}: ${request.failure()?.errorText}`));

const texts = (selector) => page.$$eval(selector, (all) => all.map((e) => e.textContent));
const text = async (selector) => (await texts(selector)).join(' | ');
const until = (what, condition, ...args) =>
  page.waitForFunction(condition, { polling: 50 }, ...args).catch(async (error) => {
    throw new Error(`${what}: ${error.message}\n${await text('body')}\n${complaints.join('\n')}`);
  });
const says = (part) => until(`says ${part}`, (part) => document.getElementById('message').textContent.includes(part), part);
const cards = (count) => until(`${count} products`, (count) => document.querySelectorAll('#products article').length === count, count);
const step = async (name, work) => { await work(); console.log(`ok ${name}`); };

async function logIn(how, secret = password) {
  await page.waitForSelector('#login[open]');
  for (const [name, value] of [['email', email], ['password', secret]]) {
    await page.$eval(`#login [name=${name}]`, (input) => { input.value = ''; });
    await page.type(`#login [name=${name}]`, value);
  }
  await page.click(`#login button[value=${how}]`);
}

try {
  await step('the page shows products and categories', async () => {
    await page.goto(url);
    await cards(60);
    assert.ok((await texts('#categories button')).length > 3);
    assert.match(await text('#orders'), /Log in/);
  });

  await step('a category and a search narrow them', async () => {
    const [, name, count] = (await text('#categories button:first-child')).match(/^(.*) (\d+)$/);
    await page.click('#categories button:first-child');
    await cards(Math.min(60, Number(count)));
    assert.equal(await page.$eval('#categories button:first-child', (b) => b.ariaPressed), 'true', name);
    await page.click('#categories button:first-child');
    await cards(60);
    await page.type('#search', 'steel kettle');
    await until('kettles', () => {
      const all = [...document.querySelectorAll('#products article')];
      return all.length > 0 && all.length < 60 && all.every((a) => /steel/i.test(a.textContent) && /kettle/i.test(a.textContent));
    });
  });

  const stockOf = (name) => page.$$eval('#products article', (all, name) => {
    const card = all.find((a) => a.querySelector('strong').textContent === name);
    return Number(card.querySelector('small').textContent.split(' ')[0]);
  }, name);
  let kettle, stock;
  await step('a guest fills a cart', async () => {
    kettle = await page.$eval('#products article strong', (e) => e.textContent);
    stock = await stockOf(kettle);
    for (const quantity of [1, 2]) {
      await page.click('#products article button');
      await until('in the cart', (line) => document.getElementById('cart').textContent.includes(line), `${quantity} × ${kettle}`);
    }
    assert.match(await text('#total'), /Together/);
  });

  await step('who buys is asked who he is, registers, and has his cart', async () => {
    await page.click('#buy');
    await logIn('signup');
    await says(`Hello, ${email}`);
    await until('merged', (line) => document.getElementById('cart').textContent.includes(line), `2 × ${kettle}`);
    await until('mails', () => document.querySelectorAll('#mails li:not(.quiet)').length === 2);
    assert.match(await text('#mails'), /[Ww]elcome/);
  });

  await step('the order is placed, then paid, and the stock is less', async () => {
    await page.click('#buy');
    await says('Thank you');
    assert.equal(await text('#total'), 'Empty.');
    await until('paid', () => document.querySelector('#orders b')?.textContent === 'paid');
    assert.equal(await stockOf(kettle), stock - 2);
  });

  await step('it is there after a reload', async () => {
    await page.reload();
    await until('orders', () => document.querySelectorAll('#orders b').length === 1);
    assert.match(await text('#account'), /ada@example\.org/);
    assert.deepEqual(complaints, []);
  });

  await step('a declined card gives the stock back', async () => {
    await page.type('#search', 'steel kettle');
    await until('kettles', (name) => document.querySelector('#products article strong')?.textContent === name, kettle);
    await page.click('#products article button');
    await until('in the cart', (line) => document.getElementById('cart').textContent.includes(line), `1 × ${kettle}`);
    await page.select('#card', 'tok_declined');
    await page.click('#buy');
    await says('Thank you');
    await until('failed', () => document.querySelector('#orders b')?.textContent === 'failed');
    await page.reload();
    await page.type('#search', 'steel kettle');
    await until('kettles', (name) => document.querySelector('#products article strong')?.textContent === name, kettle);
    assert.equal(await stockOf(kettle), stock - 2);
  });

  await step('logged out, nothing is shown, and Escape logs nobody in', async () => {
    await page.click('#account');
    await until('out', () => document.getElementById('account').textContent === 'Log in');
    assert.match(await text('#orders'), /Log in/);
    assert.match(await text('#mails'), /Log in/);
    await page.click('#account');
    await logIn('token', 'wrong horse');
    await says('Invalid login credentials');
    assert.deepEqual(complaints.splice(0), ['400 /auth/v1/token']);
    await page.click('#account');
    await page.waitForSelector('#login[open]');
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => !document.getElementById('login').open);
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(await text('#account'), 'Log in');
    assert.deepEqual(complaints, []);
    await page.click('#account');
    await logIn('token');
    await says(`Hello, ${email}`);
    await until('orders', () => document.querySelectorAll('#orders b').length === 2);
  });

  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
