// A real provider (npm oidc-provider) with one person, `a-1`, who agrees to everything, and a browser for them:
//   /-/register?uri=…   where the client's people come back to
//   /-/visit?url=…      goes there as a browser does; answers with the address at which it would come back
//   /-/type?code=…      types the code of a device
// and with clients of programs: `worker` with a secret, `signer` with a key, `calendar` with accounts of people:
//   /-/trust?name=…&jwks=…  whose assertions and tokens it takes, and where their keys are
//   /-/api                  a server that takes its tokens: says what the one in Authorization may do
//   /-/asked                how often each endpoint was asked
//   /-/refreshes            the refresh tokens that it gave, the latest last
//   /-/steal?token=…        asks with a refresh token as somebody who found it
// Its name is the first line that it prints. It ends when its standard input does.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';
import { generateKeyPairSync } from 'node:crypto';

const modules = join(process.env.PORTREEVE_INTEROP, 'node', 'node_modules');
const require = createRequire(join(modules, 'x.js'));
const { default: Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));
const { createLocalJWKSet, jwtVerify } = await import(pathToFileURL(require.resolve('jose')));

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const name = `http://127.0.0.1:${server.address().port}`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'RS256', kid: 'r1' };

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ASSERTION = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ORDERS = 'https://orders.example';

let provider;
let trusted = {};
let registered;
const asked = {};
const used = new Set();
const refreshes = [];

// What somebody whom we trust says, meant for us: once.
const said = async (ctx, token, typ) => {
  const { payload } = await jwtVerify(token, createLocalJWKSet(trusted.jwks), {
    issuer: trusted.name, audience: name, typ, requiredClaims: ['exp', 'jti', 'sub'],
  });
  if (typeof payload.aud !== 'string') throw new Error('aud has to be one string');
  if (payload.client_id && payload.client_id !== ctx.oidc.client.clientId) throw new Error('another client');
  return payload;
};

const refuse = (ctx, error) => {
  ctx.status = 400;
  ctx.body = { error };
};

// A token for what was said, and for no more than the client asks for.
const give = async (ctx, who, more) => {
  const { client, params } = ctx.oidc;
  if (params.resource !== ORDERS) return refuse(ctx, 'invalid_target');
  const resource = new provider.ResourceServer(ORDERS, orders);
  const scope = params.scope.split(' ').filter((one) => resource.scopes.has(one)).join(' ');
  ctx.told = { on_behalf: who.sub, act: who.act, txn: who.txn, with: more.with };
  const token = new provider.ClientCredentials({ client, scope });
  token.resourceServer = resource;
  ctx.body = { access_token: await token.save(), expires_in: token.expiration, token_type: 'Bearer', scope, ...more.answer };
};

const assertion = async (ctx) => {
  try {
    let who;
    try {
      who = await said(ctx, ctx.oidc.params.assertion, 'JWT');
    } catch {
      who = await said(ctx, ctx.oidc.params.assertion, 'oauth-id-jag+jwt');
      if (who.client_id !== ctx.oidc.client.clientId) throw new Error('client_id');
    }
    if (used.has(who.jti)) throw new Error('jti');
    used.add(who.jti);
    await give(ctx, who, { with: 'assertion' });
  } catch {
    refuse(ctx, 'invalid_grant');
  }
};

const exchange = async (ctx) => {
  const { params } = ctx.oidc;
  const JWT = 'urn:ietf:params:oauth:token-type:jwt';
  try {
    const who = await said(ctx, params.subject_token, 'JWT');
    if (params.subject_token_type !== JWT || !params.actor_token !== !params.actor_token_type) throw new Error('type');
    const actor = params.actor_token && await said(ctx, params.actor_token, 'JWT');
    if (actor && actor.sub !== who.act?.sub) throw new Error('actor');
    await give(ctx, who, { with: 'exchange', answer: { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' } });
  } catch {
    refuse(ctx, 'invalid_request');
  }
};

const orders = { scope: 'orders.read orders.write tenant:eu-42', accessTokenTTL: 300 };
const programs = ['client_credentials', EXCHANGE, ASSERTION];
const program = { redirect_uris: [], response_types: [], grant_types: programs };

const make = (uri) => {
  registered = uri;
  provider = new Provider(name, {
    jwks: { keys: [key] },
    clients: [{
      client_id: 'portreeve',
      token_endpoint_auth_method: 'none',
      application_type: 'native',
      grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
      response_types: ['code'],
      redirect_uris: [uri],
    },
    { client_id: 'worker', client_secret: 'worker-of-the-test', ...program },
    ...(trusted.jwks ? [{
      client_id: 'signer', jwks: trusted.jwks, token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'EdDSA', ...program,
    }] : []),
    {
      client_id: 'calendar',
      client_secret: 'calendar-of-the-test',
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: [uri],
    }],
    rotateRefreshToken: true,
    extraTokenClaims: (ctx) => ctx.told,
    scopes: ['openid', 'offline_access'],
    ttl: { ClientCredentials: 300, AccessToken: 300 },
    claims: { openid: ['sub', 'groups', 'limits', 'office'] },
    conformIdTokenClaims: false,
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, groups: ['idp-leads', 'others'], limits: { refund: 150 }, office: 7 }) }),
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => {
          if (resource !== ORDERS) throw new Error('no such server');
          return orders;
        },
      },
    },
    interactions: { url: (_, interaction) => `/-/interaction/${interaction.uid}` },
    pkce: { required: () => true },
    cookies: { keys: ['only for tests'] },
  });
  provider.on('refresh_token.saved', (token) => {
    if (!token.consumed) refreshes.push(token.jti);
  });
  provider.registerGrantType(ASSERTION, assertion, ['assertion', 'scope', 'resource'], []);
  provider.registerGrantType(EXCHANGE, exchange, [
    'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'scope', 'resource',
  ], []);
};
make('http://localhost:1/unknown');

// What somebody does on the provider's own page: they are a-1, and let the client know it.
const interact = async (request, response) => {
  const details = await provider.interactionDetails(request, response);
  const { params, session } = details;
  const grant = new provider.Grant({ accountId: session?.accountId ?? 'a-1', clientId: params.client_id });
  grant.addOIDCScope(params.client_id === 'calendar' ? 'openid offline_access' : 'openid');
  if (params.resource) grant.addResourceScope(ORDERS, orders.scope);
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
    if (url.pathname === '/-/trust') {
      const jwks = await (await fetch(url.searchParams.get('jwks'))).json();
      trusted = { name: url.searchParams.get('name'), jwks };
      make(registered);
      return say(200, 'ok');
    }
    if (url.pathname === '/-/api') {
      const shown = request.headers.authorization?.replace('Bearer ', '') ?? '';
      const token = await provider.ClientCredentials.find(shown) ?? await provider.AccessToken.find(shown);
      if (!token?.isValid || token.aud !== ORDERS) return say(401, '{}');
      const { scope, extra, accountId, clientId } = token;
      return say(200, JSON.stringify({ scope, extra, accountId, clientId }));
    }
    if (url.pathname === '/-/asked') return say(200, JSON.stringify(asked));
    if (url.pathname === '/-/refreshes') return say(200, JSON.stringify(refreshes));
    if (url.pathname === '/-/steal') {
      const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: url.searchParams.get('token') });
      const authorization = `Basic ${Buffer.from('calendar:calendar-of-the-test').toString('base64')}`;
      const answer = await fetch(`${name}/token`, { method: 'POST', body, headers: { authorization } });
      return say(200, await answer.text());
    }
    if (url.pathname === '/-/visit') {
      const { away, status, text } = await browser()(url.searchParams.get('url'));
      return away ? say(200, away) : say(500, `${status} ${text}`);
    }
    if (url.pathname === '/-/type') return say(200, await type(url.searchParams.get('code')));
    if (url.pathname.startsWith('/-/interaction/')) return await interact(request, response);
    asked[url.pathname] = (asked[url.pathname] ?? 0) + 1;
    return provider.callback()(request, response);
  } catch (error) {
    return say(500, `${error.stack}`);
  }
});

console.log(name);
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
