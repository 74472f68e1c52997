// A real provider (npm oidc-provider) with one person, `a-1`, who agrees to everything, and a browser for them:
//   /-/register?uri=…   where the client's people come back to
//   /-/visit?url=…      goes there as a browser does; answers with the address at which it would come back
//   /-/type?code=…      types the code of a device
// Its name is the first line that it prints. It ends when its standard input does.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { generateKeyPairSync } from 'node:crypto';

const modules = join(process.env.PORTREEVE_INTEROP, 'node', 'node_modules');
const require = createRequire(join(modules, 'x.js'));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const name = `http://127.0.0.1:${server.address().port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'r1' };

let provider;
const make = (uri) => {
  provider = new Provider(name, {
    jwks: { keys: [key] },
    clients: [{
      client_id: 'portreeve',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      redirect_uris: [uri],
    }],
    claims: { openid: ['sub', 'groups', 'limits', 'office'] },
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: ['idp-leads', 'others'], limits: { refund: 150 }, office: 7 }) }),
    features: { devInteractions: { enabled: false }, deviceFlow: { enabled: true } },
    interactions: { url: (_, interaction) => `/-/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    cookies: { keys: ['only for tests'] },
  });
};
make('http://localhost:1/unknown');

// What somebody does on the provider's own page: they are a-1, and let the client know it.
const interact = async (request, response) => {
  const details = await provider.interactionDetails(request, response);
  const { params, session } = details;
  const grant = new provider.Grant({ accountId: session?.accountId ?? 'a-1', clientId: params.client_id });
  grant.addOIDCScope('openid');
  const result = { login: { accountId: 'a-1' }, consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
};

// A browser: cookies by name, redirects by hand.
const browser = () => {
  const jar = new Map();
  return async (url, options = {}) => {
    for (let hops = 0; hops < 12; hops += 1) {
      if (!url.startsWith(name)) return { away: url };
      const cookie = [...jar].map(([known, value]) => `${known}=${value}`).join('; ');
      const headers = { ...options.headers, cookie };
      const answer = await fetch(url, { ...options, headers, redirect: 'manual' });
      for (const set of answer.headers.getSetCookie()) {
        const [pair] = set.split(';');
        const at = pair.indexOf('=');
        jar.set(pair.slice(0, at), pair.slice(at + 1));
      }
      const to = answer.headers.get('location');
      if (!to) return { url, status: answer.status, text: await answer.text() };
      url = new URL(to, url).href;
      options = {};
    }
    throw new Error('too many redirects');
  };
};

const fields = (text) => {
  const found = new URLSearchParams();
  for (const [, attributes] of text.matchAll(/<input([^>]*)>/g)) {
    const of = (member) => attributes.match(new RegExp(`${member}="([^"]*)"`))?.[1];
    if (of('name')) found.set(of('name'), of('value') ?? '');
  }
  return found;
};

const type = async (code) => {
  const go = browser();
  const page = await go(`${name}/device`);
  const form = fields(page.text);
  form.set('user_code', code);
  const post = (body) => go(`${name}/device`, {
    method: 'POST', body: body.toString(), headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
  let next = await post(form);
  // It shows the code once more, and wants to hear that it is the one on the device.
  if (/name="confirm"/.test(next.text)) {
    const again = fields(next.text);
    again.set('confirm', 'yes');
    next = await post(again);
  }
  return `${next.status}`;
};

server.on('request', async (request, response) => {
  const url = new URL(request.url, name);
  const say = (status, text) => { response.statusCode = status; response.end(text); };
  try {
    if (url.pathname === '/-/register') {
      make(url.searchParams.get('uri'));
      return say(200, 'ok');
    }
    if (url.pathname === '/-/visit') {
      const { away, status, text } = await browser()(url.searchParams.get('url'));
      return away ? say(200, away) : say(500, `${status} ${text}`);
    }
    if (url.pathname === '/-/type') return say(200, await type(url.searchParams.get('code')));
    if (url.pathname.startsWith('/-/interaction/')) return await interact(request, response);
    return provider.callback()(request, response);
  } catch (error) {
    return say(500, `${error.stack}`);
  }
});

console.log(name);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
